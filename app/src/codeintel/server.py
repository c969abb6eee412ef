"""The MCP server: the tools, shown and hidden as the capabilities come and go."""

import logging
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from fastmcp import FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.server.transforms import GetToolNext, Transform
from fastmcp.tools import Tool
from fastmcp.utilities.versions import VersionSpec
from mcp_types import ToolAnnotations

from codeintel.context import ApplicationContext, Capabilities
from codeintel.errors import CodeintelError
from codeintel.metrics import Metrics, ToolMetrics
from codeintel.tool_limits import ToolLimits
from codeintel.tools import Tools

INSTRUCTIONS = """Read-only access to indexed source code. Start with status (what is indexed, \
and how fresh), narrow with grep or files, then read the lines you need. Paths are relative to \
the repository. Continue a page by repeating the call with its cursor."""

READ_ONLY = ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)


class CapabilityGate(Transform):
    """Hide each tool while the capability that it needs is off.

    Looks at the capabilities on every request: enable() and disable() of FastMCP would add
    a transform a call, for ever.
    """

    def __init__(self, context: ApplicationContext, needs: dict[str, str]) -> None:
        """Gate by `needs`: tool name to capability name."""
        self._context = context
        self._needs = needs

    async def list_tools(self, tools: Sequence[Tool]) -> Sequence[Tool]:
        """Return the tools that work now."""
        capabilities = Capabilities.of(self._context)
        return [tool for tool in tools if self._is_open(tool.name, capabilities)]

    async def get_tool(
        self, name: str, call_next: GetToolNext, *, version: VersionSpec | None = None
    ) -> Tool | None:
        """Return the tool if it works now."""
        if not self._is_open(name, Capabilities.of(self._context)):
            return None
        return await call_next(name, version=version)

    def _is_open(self, name: str, capabilities: Capabilities) -> bool:
        need = self._needs.get(name)
        return need is None or capabilities.has(need)


def build_server(context: ApplicationContext, metrics: Metrics) -> FastMCP:
    """Return the MCP server with all tools over the indexes of `context`."""
    server = FastMCP(
        "codeintel",
        instructions=INSTRUCTIONS,
        version=context.version,
        mask_error_details=True,
    )
    needs: dict[str, str] = {}
    schemas: dict[str, dict[str, Any]] = {}
    for function, title, need in Tools(context).table():
        tool = Tool.from_function(_tell(function), title=title, annotations=READ_ONLY)
        server.add_tool(tool)
        schemas[tool.name] = tool.parameters
        if need is not None:
            needs[tool.name] = need
    server.add_transform(CapabilityGate(context, needs))
    server.add_middleware(ToolLimits(context.settings.tool_rate_limits, schemas, metrics))
    server.add_middleware(ToolMetrics(metrics, frozenset(schemas)))
    # Without this hook of the SDK every stateless tools/call lists all tools first, to
    # validate Mcp-Param headers. FastMCP offers no public way to set it.
    server._mcp_server.get_tool_input_schema = schemas.get
    return server


def _tell(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let the messages of expected failures through the masking of errors."""

    @wraps(function)
    def told(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        try:
            return function(*arguments, **named)
        except CodeintelError as error:
            raise ToolError(str(error), log_level=logging.DEBUG) from error

    return told
