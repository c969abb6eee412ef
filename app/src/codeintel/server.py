"""The MCP server: tools that come and go with the capabilities, files and a prompt."""

import logging
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from fastmcp import FastMCP
from fastmcp.exceptions import ToolError, ValidationError
from fastmcp.prompts import Prompt, PromptResult
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.server.transforms import GetToolNext, Transform
from fastmcp.tools import Tool, ToolResult
from fastmcp.utilities.versions import VersionSpec
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    GetPromptRequestParams,
    ToolAnnotations,
)
from pydantic import ValidationError as PydanticValidationError

from codeintel.context import ApplicationContext, Capabilities
from codeintel.errors import CodeintelError
from codeintel.metrics import Metrics, ToolMetrics
from codeintel.prompt import explore
from codeintel.resources import file_template
from codeintel.sealing import shared_security
from codeintel.tool_limits import ToolLimits
from codeintel.tools import Tools

INSTRUCTIONS = """Read-only access to indexed source code. search finds by words, symbols by \
name, grep by regular expression; then read the lines you need, or around a hit. status tells \
what is indexed and how fresh. Paths are relative to the repository. Continue a page by repeating \
the call with its cursor."""

READ_ONLY = ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)

BOUNDS = frozenset({"minLength", "maxLength", "minimum", "maximum"})


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


class PlainRefusals(Middleware):
    """FastMCP middleware that says in one line which argument is wrong."""

    async def on_call_tool(
        self,
        context: MiddlewareContext[CallToolRequestParams],
        call_next: CallNext[CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        """Serve one call."""
        try:
            return await call_next(context)
        except ValidationError as error:
            cause = error.__cause__
            if not isinstance(cause, PydanticValidationError):
                raise
            first = cause.errors()[0]
            name = ".".join(str(part)[:40] for part in first["loc"])
            message = f"{name}: {first['msg'].lower()}; see the schema of {context.message.name}"
            raise ToolError(message, log_level=logging.DEBUG) from error

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


def shorten(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a tool without what an agent need not know.

    An argument may be left out instead of being null, and bounds are checked all the same.
    """
    properties = {}
    for name, described in schema["properties"].items():
        kept = dict(described)
        for choice in kept.pop("anyOf", ()):
            kept |= choice if choice != {"type": "null"} else {}
        if kept.get("default", ...) is None:
            del kept["default"]
        properties[name] = {key: value for key, value in kept.items() if key not in BOUNDS}
    return {**schema, "properties": properties}


def build_server(context: ApplicationContext, metrics: Metrics) -> FastMCP:
    """Return the MCP server with all tools over the indexes of `context`."""
    server = FastMCP(
        "codeintel",
        instructions=INSTRUCTIONS,
        version=context.version,
        mask_error_details=True,
        request_state_security=shared_security(context.settings),
    )
    needs: dict[str, str] = {}
    schemas: dict[str, dict[str, Any]] = {}
    for function, title, need in Tools(context).table():
        # No schema of the answer: agents read the answers, and pay for the schemas.
        tool = Tool.from_function(
            _tell(function), title=title, annotations=READ_ONLY, output_schema=None
        )
        tool.parameters = shorten(tool.parameters)
        server.add_tool(tool)
        schemas[tool.name] = tool.parameters
        if need is not None:
            needs[tool.name] = need
    server.add_template(file_template(context))
    server.add_prompt(Prompt.from_function(explore, title="Explore the code"))
    server.add_transform(CapabilityGate(context, needs))
    server.add_middleware(ToolLimits(context.settings, schemas, metrics))
    server.add_middleware(ToolMetrics(metrics, frozenset(schemas)))
    server.add_middleware(PlainRefusals())
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
