from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from codeintel.context import ApplicationContext
from codeintel.metrics import Metrics
from codeintel.server import build_server
from fastmcp import Client
from mcp import MCPError
from mcp_types import INVALID_PARAMS

pytestmark = pytest.mark.anyio

Index = Callable[..., object]


@pytest.fixture
async def client(context: ApplicationContext) -> AsyncIterator[Client[Any]]:
    async with Client[Any](build_server(context, Metrics())) as connected:
        yield connected


async def test_a_file_by_uri(client: Client[Any], index: Index) -> None:
    index({"src/a b.py": "1\n" * 50_000, "é": "2"}, "Main")
    [template] = await client.list_resource_templates()
    assert template.uri_template == "codeintel://{repository}/{path*}"
    assert template.title
    [content] = await client.read_resource("codeintel://Main/src/a%20b.py")
    assert content.text == "1\n" * 50_000  # type: ignore[union-attr]  # the only kind there is
    assert content.mime_type == "text/plain"
    assert (await client.read_resource("codeintel://Main/%C3%A9"))[0].text == "2"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("codeintel://main/nope.py", "is not in the index of main; see the tool files"),
        ("codeintel://main/lib/a.py", "did you mean src/a.py"),
        ("codeintel://other/src/a.py", "unknown repository 'other'; one of: main"),
        ("codeintel://main/src/..%2fsrc/a.py", ""),
        ("codeintel://main//etc/passwd", ""),
        ("file:///etc/passwd", ""),
    ],
)
async def test_what_is_no_file_of_an_index(
    client: Client[Any], index: Index, uri: str, message: str
) -> None:
    index({"src/a.py": "1"}, "main")
    with pytest.raises(MCPError) as error:
        await client.read_resource(uri)
    assert message in str(error.value)
    assert error.value.error.code == INVALID_PARAMS
    assert "\n" not in str(error.value)


async def test_the_prompt_teaches_the_tools_there_are(client: Client[Any]) -> None:
    [prompt] = await client.list_prompts()
    assert prompt.title
    shown = await client.get_prompt(prompt.name, {"question": "Where are limits?"})
    [message] = shown.messages
    text = message.content.text  # type: ignore[union-attr]
    assert text.endswith("Question: Where are limits?")
    for tool in ("search", "symbols", "references", "grep", "outline", "read", "status"):
        assert tool in text
    assert len(text) < 1600
