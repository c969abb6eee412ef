"""The server of the conformance suite's own tools, in the composite that serves the product.

The suite dictates every name and most of the texts.
"""

import base64
import json
from typing import Annotated, Any

from codeintel.app import create_app
from codeintel.settings import load_settings
from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.prompts import Message
from fastmcp.tools import FunctionTool
from fastmcp.utilities.types import Audio, Image
from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CompletionArgument,
    CompletionContext,
    EmbeddedResource,
    ImageContent,
    InputRequiredResult,
    PromptReference,
    ResourceTemplateReference,
    SamplingMessage,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
WAV = b"RIFF\x26\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\2\0\0\0\0\0"

server = FastMCP("conformance", version="1", dereference_schemas=False)


def resource(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    contents = TextResourceContents(uri=uri, mime_type=mime_type, text=text)
    return EmbeddedResource(type="resource", resource=contents)


def image() -> ImageContent:
    return ImageContent(type="image", data=base64.b64encode(PNG).decode(), mime_type="image/png")


@server.tool
def test_simple_text() -> str:
    """Return a text."""
    return "This is a simple text response for testing."


@server.tool
def test_image_content() -> Image:
    """Return an image."""
    return Image(data=PNG, format="png")


@server.tool
def test_audio_content() -> Audio:
    """Return a sound."""
    return Audio(data=WAV, format="wav")


@server.tool(output_schema=None)
def test_embedded_resource() -> list[EmbeddedResource]:
    """Return a resource."""
    return [resource("test://embedded-resource", "text/plain", "This is an embedded resource.")]


@server.tool(output_schema=None)
def test_multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
    """Return a text, an image and a resource."""
    text = TextContent(type="text", text="Multiple content types test:")
    data = resource("test://mixed-content-resource", "application/json", '{"test":"data"}')
    return [text, image(), data]


@server.tool
def test_error_handling() -> str:
    """Fail."""
    raise ToolError("This tool intentionally returns an error for testing")


@server.tool
async def test_tool_with_logging(ctx: Context) -> str:
    """Log within the call."""
    for message in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.info(message)
    return "done"


@server.tool
async def test_logging_tool(ctx: Context) -> str:
    """Log within a stateless call, which has to ask for it."""
    await ctx.info("not asked for")
    return "done"


@server.tool
async def test_tool_with_progress(ctx: Context) -> str:
    """Report progress within the call."""
    for progress in (0, 50, 100):
        await ctx.report_progress(progress, 100)
    return "done"


@server.tool
async def test_streaming_elicitation(ctx: Context) -> str:
    """Stream within a stateless call."""
    await ctx.report_progress(1, 2)
    return "done"


@server.tool
async def test_sampling(prompt: str, ctx: Context) -> str:
    """Ask the client's model."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
    answer = await ctx.session.create_message(
        [message], max_tokens=100, related_request_id=ctx.request_id
    )
    return f"LLM response: {answer.content}"


@server.tool
async def test_missing_capability(ctx: Context) -> str:
    """Refuse to work for clients that cannot sample."""
    capabilities = ctx.session.client_capabilities
    if capabilities is None or capabilities.sampling is None:
        data: dict[str, object] = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "the client cannot sample", data)
    return "done"


def form(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": []}


async def elicit(ctx: Context, message: str, schema: dict[str, Any]) -> str:
    answer = await ctx.session.elicit(message, schema, related_request_id=ctx.request_id)
    return f"User response: action={answer.action}, content={json.dumps(answer.content)}"


@server.tool
async def test_elicitation(message: str, ctx: Context) -> str:
    """Ask the user."""
    return await elicit(ctx, message, form(username={"type": "string"}, email={"type": "string"}))


@server.tool
async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    """Ask the user, with an answer to each question already there."""
    states = ["active", "inactive", "pending"]
    schema = form(
        name={"type": "string", "default": "John Doe"},
        age={"type": "integer", "default": 30},
        score={"type": "number", "default": 95.5},
        status={"type": "string", "enum": states, "default": "active"},
        verified={"type": "boolean", "default": True},
    )
    return await elicit(ctx, "Please review", schema)


def titled(*values: str) -> list[dict[str, str]]:
    return [{"const": value, "title": value.title()} for value in values]


@server.tool
async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    """Ask the user to choose."""
    options = ["option1", "option2", "option3"]
    values = titled("value1", "value2", "value3")
    schema = form(
        untitledSingle={"type": "string", "enum": options},
        titledSingle={"type": "string", "oneOf": values},
        legacyEnum={"type": "string", "enum": options, "enumNames": ["One", "Two", "Three"]},
        untitledMulti={"type": "array", "items": {"type": "string", "enum": options}},
        titledMulti={"type": "array", "items": {"anyOf": values}},
    )
    return await elicit(ctx, "Please choose", schema)


def ask_user(message: str, field: str, kind: str = "string") -> dict[str, Any]:
    schema = {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}
    params = {"mode": "form", "message": message, "requestedSchema": schema}
    return {"method": "elicitation/create", "params": params}


def ask_model(question: str) -> dict[str, Any]:
    message = {"role": "user", "content": {"type": "text", "text": question}}
    return {
        "method": "sampling/createMessage",
        "params": {"messages": [message], "maxTokens": 100},
    }


ASK_ROOTS: dict[str, Any] = {"method": "roots/list", "params": {}}


def ask(state: str | None = None, **requests: dict[str, Any]) -> InputRequiredResult:
    return InputRequiredResult.model_validate({"inputRequests": requests, "requestState": state})


def answers(ctx: Context, *keys: str) -> dict[str, Any] | None:
    """Return the answers to `keys`, or None while one is missing."""
    given = ctx.input_responses or {}
    if not all(key in given for key in keys):
        return None
    return {key: given[key].model_dump(mode="json", by_alias=True) for key in keys}


def input_tool(name: str, rounds: list[dict[str, dict[str, Any]]], *, state: bool = False) -> None:
    """Add a tool that asks the questions of each of the `rounds` in turn."""

    async def run(ctx: Context) -> str | InputRequiredResult:
        for number, requests in enumerate(rounds):
            if (ctx.request_state or "round 0") != f"round {number}":
                continue
            given = answers(ctx, *requests)
            if given is None:
                return ask(f"round {number}" if state else None, **requests)
            if number + 1 < len(rounds):
                return ask(f"round {number + 1}", **rounds[number + 1])
            return f"state-ok: {json.dumps(given)}"
        raise ToolError("unknown state")

    server.add_tool(
        FunctionTool.from_function(
            run, name=name, description="Ask within the call.", output_schema=None
        )
    )


NAME = ask_user("What is your name?", "name")
CONFIRM = ask_user("Please confirm", "ok", "boolean")
input_tool("test_input_required_result_elicitation", [{"user_name": NAME}])
input_tool(
    "test_input_required_result_sampling",
    [{"capital_question": ask_model("What is the capital of France?")}],
)
input_tool("test_input_required_result_list_roots", [{"client_roots": ASK_ROOTS}])
input_tool("test_input_required_result_request_state", [{"confirm": CONFIRM}], state=True)
input_tool("test_input_required_result_tampered_state", [{"confirm": CONFIRM}], state=True)
input_tool(
    "test_input_required_result_multiple_inputs",
    [
        {
            "user_name": NAME,
            "greeting": ask_model("Generate a greeting"),
            "client_roots": ASK_ROOTS,
        }
    ],
    state=True,
)
input_tool(
    "test_input_required_result_multi_round",
    [
        {"step1": ask_user("Step 1: What is your name?", "name")},
        {"step2": ask_user("Step 2: What is your favorite color?", "color")},
    ],
    state=True,
)


@server.tool(output_schema=None)
def test_input_required_result_capabilities(ctx: Context) -> InputRequiredResult:
    """Ask only what the client can answer."""
    capabilities = ctx.session.client_capabilities
    if capabilities is not None and capabilities.elicitation is not None:
        return ask(user_name=NAME)
    return ask(greeting=ask_model("Generate a greeting"))


@server.tool
def test_custom_headers(
    region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "",
) -> str:
    """Take an argument that the client repeats in a header."""
    return region


server.add_tool(
    FunctionTool(
        name="json_schema_2020_12_tool",
        description="Has a schema of the newest kind.",
        fn=lambda name=None, address=None: f"{name} {address}",
        parameters={
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "$defs": {
                "address": {
                    "$anchor": "address",
                    "type": "object",
                    "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
                }
            },
            "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
            "allOf": [{"anyOf": [{"required": ["name"]}, {"required": ["address"]}]}],
            "if": {"required": ["address"]},
            "then": {"required": ["name"]},
            "else": {"required": []},
            "additionalProperties": False,
        },
    )
)


@server.resource("test://static-text", mime_type="text/plain")
def static_text() -> str:
    """Return a text."""
    return "This is the content of the static text resource."


@server.resource("test://static-binary", mime_type="image/png")
def static_binary() -> bytes:
    """Return an image."""
    return PNG


@server.resource("test://template/{number}/data", mime_type="application/json")
def template(number: str) -> str:
    """Return the number in the address."""
    return json.dumps({"id": number, "templateTest": True, "data": f"Data for ID: {number}"})


@server.resource("test://watched-resource", mime_type="text/plain")
def watched() -> str:
    """Return a text that may change."""
    return "Watched."


@server.prompt
def test_simple_prompt() -> str:
    """Return a prompt."""
    return "This is a simple prompt for testing."


@server.prompt
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """Return a prompt with its arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.prompt
def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:  # noqa: N803
    """Return a prompt with a resource."""
    embedded = resource(resourceUri, "text/plain", "Embedded resource content for testing.")
    return [Message(embedded), Message("Please process the embedded resource above.")]


@server.prompt
def test_prompt_with_image() -> list[Message]:
    """Return a prompt with an image."""
    return [Message(image()), Message("Please analyze the image above.")]


@server.prompt
def test_input_required_result_prompt(ctx: Context) -> Any:  # noqa: ANN401 (a prompt or a question)
    """Ask before answering."""
    if answers(ctx, "user_context") is None:
        return ask(user_context=ask_user("What context should the prompt use?", "context"))
    return "This prompt has its context."


@server.completion
def complete(
    _reference: PromptReference | ResourceTemplateReference,
    argument: CompletionArgument,
    _context: CompletionContext | None,
) -> list[str]:
    """Complete whatever is typed with itself."""
    return [argument.value]


app = create_app(load_settings(), server)
