"""Serve any ASGI app with Hypercorn as a systemd service, behind nginx or facing clients itself."""
