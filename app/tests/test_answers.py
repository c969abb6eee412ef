"""How the endpoint answers: JSON where nothing is streamed, and nothing is kept for resuming."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import get_type_hints

import httpx2
import pytest
from codeintel.app import create_app
from codeintel.context import ApplicationContext
from codeintel.metrics import Metrics
from codeintel.server import build_server
from codeintel.settings import Settings
from fastmcp import Context, FastMCP
from fastmcp.tools import FunctionTool
from starlette.applications import Starlette

from .test_mcp import ACCEPT, INITIALIZE, Index, request, stateless

pytestmark = pytest.mark.anyio

Serve = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]

KEY = "k" * 32
READ = {"name": "read", "arguments": {"path": "a.py"}}


async def test_the_product_answers_in_json(serve: Serve, index: Index) -> None:
    index({"a.py": "1"}, "main")
    async with serve() as client:
        opened = await client.post("/mcp", json=INITIALIZE, headers=ACCEPT)
        session = ACCEPT | {"Mcp-Session-Id": opened.headers["mcp-session-id"]}
        of_session = await client.post("/mcp", json=request("tools/call", READ), headers=session)
        body, headers = stateless("tools/call", READ)
        alone = await client.post("/mcp", json=body, headers=headers)
    for response in (opened, of_session, alone):
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert "result" in response.json()


async def test_an_answer_is_put_into_json_once_and_no_span_is_described(
    serve: Serve, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FastMCP would do the one three times, and the other for nobody; each costs a call much."""
    index({"a.py": "1"}, "main")

    def dear(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("fastmcp.tools.base.default_serializer", dear)
    monkeypatch.setattr("fastmcp.server.telemetry._build_server_span_attrs", dear)
    monkeypatch.setattr("fastmcp.server.telemetry.get_session_span_attributes", dear)
    body, headers = stateless("tools/call", READ)
    async with serve() as client:
        result = (await client.post("/mcp", json=body, headers=headers)).json()["result"]
    assert not result.get("isError")
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]


async def test_no_tool_of_the_product_could_stream(
    context: ApplicationContext, index: Index
) -> None:
    """JSON drops what a tool sends within a call; what takes no context can send nothing."""
    index({"a.py": "1"}, "main")
    tools = await build_server(context, Metrics()).list_tools()
    assert tools
    for tool in tools:
        assert isinstance(tool, FunctionTool)
        assert Context not in get_type_hints(tool.fn).values(), tool.name


async def test_another_server_may_stream(serve: Serve) -> None:
    server = FastMCP("other")

    @server.tool
    async def count(ctx: Context) -> str:
        await ctx.info("one")
        return "done"

    async with serve(server) as client:
        opened = await client.post("/mcp", json=INITIALIZE, headers=ACCEPT)
        session = ACCEPT | {"Mcp-Session-Id": opened.headers["mcp-session-id"]}
        call = request("tools/call", {"name": "count", "arguments": {}})
        called = await client.post("/mcp", json=call, headers=session)
    assert called.headers["content-type"].startswith("text/event-stream")
    assert called.headers["x-accel-buffering"] == "no"
    assert "connection" not in called.headers
    assert called.text.index("notifications/message") < called.text.index("done")
    # An event that is stored has an id.
    assert "\nid:" not in called.text


@asynccontextmanager
async def running(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        yield client


def without_sessions(index_dir: object, key: str = KEY) -> Settings:
    return Settings.model_validate({"index_dir": index_dir, "stateless": True, "shared_key": key})


async def test_without_sessions_any_instance_answers(index: Index, settings: Settings) -> None:
    index({"a.py": "1"}, "main")
    app = create_app(without_sessions(settings.index_dir))
    async with running(app) as client:
        opened = await client.post("/mcp", json=INITIALIZE, headers=ACCEPT)
        assert opened.status_code == 200
        assert "mcp-session-id" not in opened.headers
        # As a second instance would be asked, which has seen no initialize.
        called = await client.post("/mcp", json=request("tools/call", READ), headers=ACCEPT)
        assert called.status_code == 200
        assert "result" in called.json()
        assert (await client.get("/mcp", headers=ACCEPT)).status_code == 405
