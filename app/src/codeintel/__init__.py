"""MCP server that answers questions about source code from an immutable index."""

from importlib.metadata import version

__version__ = version("codeintel")
