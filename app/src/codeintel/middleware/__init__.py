"""Plain ASGI middlewares, one idea each."""
