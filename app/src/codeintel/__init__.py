"""MCP server that answers questions about source code from an immutable index."""

import os
from importlib.metadata import version

# FastMCP would read a file .env of whatever folder it is started in, or fail where it may not.
os.environ.setdefault("FASTMCP_ENV_FILE", os.devnull)

__version__ = version("codeintel")
