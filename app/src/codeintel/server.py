"""The MCP server: tools that come and go with the capabilities, files and a prompt."""

import logging
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import fastmcp
from fastmcp import FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.prompts import Prompt
from fastmcp.server.auth import AuthProvider
from fastmcp.server.transforms import GetToolNext, Transform
from fastmcp.tools import Tool, ToolResult
from fastmcp.utilities.versions import VersionSpec
from mcp_types import TextContent, ToolAnnotations
from pydantic_core import to_json, to_jsonable_python

from codeintel.calls import Calls
from codeintel.context import ApplicationContext
from codeintel.errors import CodeintelError
from codeintel.metrics import Metrics
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

QUICK = frozenset({"fetch", "outline", "read", "status"})
"""Tools that are called where they are asked for: a thread would cost more than they do."""

BOUNDS = frozenset({"minLength", "maxLength", "minimum", "maximum"})


class CapabilityGate(Transform):
    """Hide each tool while the capability that it needs is off.

    Looks at the capabilities on every request: enable() and disable() of FastMCP would add
    a transform a call, for ever. Knows the tools, so that a call need not look through providers.
    """

    def __init__(self, context: ApplicationContext) -> None:
        """Gate what is to be added."""
        self._context = context
        self._tools: dict[str, tuple[Tool, str | None]] = {}

    def add(self, tool: Tool, need: str | None) -> None:
        """Show `tool` while the capability called `need` is on, or always if that is None."""
        self._tools[tool.name] = tool, need

    async def list_tools(self, tools: Sequence[Tool]) -> Sequence[Tool]:
        """Return the tools that work now."""
        works = self._context.works()
        needs = ((tool, self._tools[tool.name][1]) for tool in tools)
        return [tool for tool, need in needs if need is None or need in works]

    async def get_tool(
        self,
        name: str,
        call_next: GetToolNext,  # noqa: ARG002 (of the interface)
        *,
        version: VersionSpec | None = None,  # noqa: ARG002
    ) -> Tool | None:
        """Return the tool if it works now."""
        tool, need = self._tools.get(name, (None, None))
        return tool if need is None or need in self._context.works() else None


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


def build_server(
    context: ApplicationContext, metrics: Metrics, auth: AuthProvider | None = None
) -> FastMCP:
    """Return the MCP server with all tools over the indexes of `context`, for whom `auth` lets in.

    None lets everybody in.
    """
    server = FastMCP(
        "codeintel",
        instructions=INSTRUCTIONS,
        version=context.version,
        mask_error_details=True,
        auth=auth,
        request_state_security=shared_security(context.settings),
    )
    # Nothing here exports spans. "off" would gather their attributes, for a twelfth of a call.
    fastmcp.settings.telemetry_mode = "propagation_only"
    gate = CapabilityGate(context)
    schemas: dict[str, dict[str, Any]] = {}
    for function, title, need in Tools(context).table():
        # No schema of the answer: agents read the answers, and pay for the schemas.
        tool = Tool.from_function(
            _told(function), title=title, annotations=READ_ONLY, output_schema=None
        )
        tool.parameters = shorten(tool.parameters)
        server.add_tool(tool)
        gate.add(tool, need)
        schemas[tool.name] = tool.parameters
    server.add_template(file_template(context))
    server.add_prompt(Prompt.from_function(explore, title="Explore the code"))
    server.add_transform(gate)
    server.add_middleware(Calls(ToolLimits(context.settings, schemas), metrics, frozenset(schemas)))
    # Without this hook of the SDK every stateless tools/call lists all tools first, to
    # validate Mcp-Param headers. FastMCP offers no public way to set it.
    server._mcp_server.get_tool_input_schema = schemas.get
    return server


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let the messages of expected failures through the masking of errors.

    The answer is put into JSON here, once: FastMCP would do that three times.
    """

    @wraps(function)
    def told(*arguments: Any, **named: Any) -> ToolResult:  # noqa: ANN401
        try:
            answer = to_jsonable_python(function(*arguments, **named))
        except CodeintelError as error:
            raise ToolError(str(error), log_level=logging.DEBUG) from error
        text = TextContent(type="text", text=to_json(answer).decode())
        return ToolResult(content=[text], structured_content=answer)

    @wraps(function)
    async def at_once(*arguments: Any, **named: Any) -> ToolResult:  # noqa: ANN401
        return told(*arguments, **named)

    # FastMCP calls a plain function in a thread.
    return at_once if function.__name__ in QUICK else told
