"""Limits on how often a client may call a tool."""

from collections.abc import Collection
from difflib import get_close_matches

from fastmcp.server.dependencies import get_http_request

from codeintel.errors import CodeintelError
from codeintel.limiter import Limiter
from codeintel.peer import client_key
from codeintel.settings import Settings


class ToolLimits:
    """Refuses calls over the limit of their tool."""

    def __init__(self, settings: Settings, tools: Collection[str]) -> None:
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

    async def count(self, name: str) -> None:
        """Count a call of the tool `name`. Raises RateLimitError over its limit."""
        if (limiter := self._limiters.get(name)) and (client := _caller()) is not None:
            await limiter.count(client)


def _caller() -> str | None:
    try:
        return client_key(get_http_request().scope)
    except RuntimeError:  # called in process, not over HTTP
        return None
