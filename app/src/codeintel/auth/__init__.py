"""Who may call: the ways in which the server authenticates its clients."""
