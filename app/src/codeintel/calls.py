"""What happens around every call: limits, metrics, and refusals that an agent understands."""

import logging
import time

from fastmcp.exceptions import ToolError, ValidationError
from fastmcp.prompts import PromptResult
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools import ToolResult
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolRequestParams, GetPromptRequestParams
from pydantic import ValidationError as PydanticValidationError

from codeintel.limiter import RateLimitError
from codeintel.metrics import Metrics
from codeintel.tool_limits import ToolLimits


class Calls(Middleware):
    """FastMCP middleware around the tools and prompts; one, as each costs a call a twentieth."""

    def __init__(self, limits: ToolLimits, metrics: Metrics, tools: frozenset[str]) -> None:
        """Count calls of `tools` by name and of any other name as ``other``."""
        self._limits = limits
        self._metrics = metrics
        self._tools = tools

    async def on_call_tool(
        self,
        context: MiddlewareContext[CallToolRequestParams],
        call_next: CallNext[CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        """Serve, count and time one call, or refuse it.

        A refusal is a tool error, which the agent reads, and not one of HTTP, which its client
        would take for a broken connection.
        """
        name = context.message.name if context.message.name in self._tools else "other"
        outcome = "error"
        started = time.perf_counter()
        try:
            await self._limits.count(name)
            result = await call_next(context)
            outcome = "error" if result.is_error else "ok"
        except RateLimitError as excess:
            outcome = "refused"
            raise ToolError(f"{name}: {excess}", log_level=logging.DEBUG) from excess
        except ValidationError as error:
            cause = error.__cause__
            if not isinstance(cause, PydanticValidationError):
                raise
            first = cause.errors()[0]
            argument = ".".join(str(part)[:40] for part in first["loc"])
            message = f"{argument}: {first['msg'].lower()}; see the schema of {name}"
            raise ToolError(message, log_level=logging.DEBUG) from error
        finally:
            self._metrics.tool_calls.labels(name, outcome).inc()
            if outcome != "refused":
                self._metrics.tool_seconds.labels(name).observe(time.perf_counter() - started)
        return result

    async def on_get_prompt(
        self,
        context: MiddlewareContext[GetPromptRequestParams],
        call_next: CallNext[GetPromptRequestParams, PromptResult],
    ) -> PromptResult:
        """Serve one prompt; FastMCP calls a missing argument an internal error."""
        asked = context.message
        if context.fastmcp_context is not None:
            prompt = await context.fastmcp_context.fastmcp.get_prompt(asked.name)
            for argument in (prompt and prompt.arguments) or ():
                if argument.required and argument.name not in (asked.arguments or {}):
                    raise MCPError(INVALID_PARAMS, f"{asked.name}: give it {argument.name}")
        return await call_next(context)
