"""Calling a tool in this process, through all that a call of a client passes."""

from collections.abc import Mapping
from typing import Any

from fastmcp.exceptions import FastMCPError, NotFoundError

from codeintel.context import ApplicationContext
from codeintel.errors import CodeintelError
from codeintel.logs import configure_logging
from codeintel.metrics import Metrics
from codeintel.server import build_server


async def call_tool(
    context: ApplicationContext, tool: str, arguments: Mapping[str, str]
) -> dict[str, Any]:
    """Return the structured answer of `tool`; numbers and booleans may come as words.

    Raises CodeintelError with what an agent would be told.
    """
    configure_logging("ERROR")
    context.encoder.load()
    server = build_server(context, Metrics())
    try:
        result = await server.call_tool(tool, dict(arguments))
    except (FastMCPError, NotFoundError) as error:
        if isinstance(error, NotFoundError):
            known = ", ".join(one.name for one in await server.list_tools())
            raise CodeintelError(f"no tool {tool[:40]!r} now; one of: {known}") from error
        raise CodeintelError(str(error)) from error
    return result.structured_content or {}
