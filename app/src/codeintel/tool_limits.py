"""Limits on how often a client may call a tool."""

import logging
from collections.abc import Collection
from difflib import get_close_matches

from fastmcp.exceptions import ToolError
from fastmcp.server.dependencies import get_http_request
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools import ToolResult
from mcp_types import CallToolRequestParams

from codeintel.errors import CodeintelError
from codeintel.limiter import Limiter, RateLimitError
from codeintel.metrics import Metrics
from codeintel.peer import client_key
from codeintel.settings import Settings


class ToolLimits(Middleware):
    """FastMCP middleware that refuses calls over the limit of their tool.

    The refusal is a tool error, which the agent reads, and not one of HTTP, which its client would
    take for a broken connection.
    """

    def __init__(self, settings: Settings, tools: Collection[str], metrics: Metrics) -> None:
        """Apply the limits by name of tool. Raises CodeintelError for one not in `tools`."""
        limits = settings.tool_rate_limits
        for name in limits:
            if name not in tools:
                [nearest] = get_close_matches(name, tools, n=1, cutoff=0)
                raise CodeintelError(
                    f"CODEINTEL_TOOL_RATE_LIMITS: unknown tool {name!r}; did you mean {nearest}?"
                )
        store = settings.rate_limit_store.get_secret_value()
        self._limiters = {
            name: Limiter(limit, "call", name=f"tool {name}", store=store)
            for name, limit in limits.items()
        }
        self._metrics = metrics

    async def on_call_tool(
        self,
        context: MiddlewareContext[CallToolRequestParams],
        call_next: CallNext[CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        """Serve or refuse one call."""
        name = context.message.name
        limiter, client = self._limiters.get(name), _caller()
        if limiter is not None and client is not None:
            try:
                await limiter.count(client)
            except RateLimitError as excess:
                self._metrics.tool_calls.labels(name, "refused").inc()
                raise ToolError(f"{name}: {excess}", log_level=logging.DEBUG) from excess
        return await call_next(context)


def _caller() -> str | None:
    try:
        return client_key(get_http_request().scope)
    except RuntimeError:  # called in process, not over HTTP
        return None
