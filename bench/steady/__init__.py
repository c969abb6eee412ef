"""Steady load over HTTP/1.1, 2 and 3 while something is done to a host, and what it saw."""
