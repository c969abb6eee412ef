import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx2
import pytest
from codeintel.context import ApplicationContext
from codeintel.metrics import MAX_REPOSITORIES, HttpMetrics, Metrics
from codeintel.server import build_server
from codeintel.store import index_path
from fastmcp import Client, FastMCP
from fastmcp.exceptions import ToolError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

pytestmark = pytest.mark.anyio

Index = Callable[..., object]
Serve = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


async def test_requests_have_bounded_labels(serve: Serve) -> None:
    broken = FastMCP("broken")

    @broken.custom_route("/broken", methods=["GET"])
    async def fail(_request: Request) -> Response:
        raise RuntimeError

    async with serve(broken) as client:
        for path in ("/api/livez", "/api/livez", "/mcp/", "/x/1", "/x/2", "/broken"):
            await client.get(path)
        await client.request("BREW", "/x/3")
        text = (await client.get("/api/metrics")).text
    requests = dict(re.findall(r"^codeintel_http_requests_total\{(.*)\} (.*)$", text, re.MULTILINE))
    assert requests == {
        'method="GET",route="/api/livez",status="200"': "2.0",
        'method="GET",route="/mcp",status="400"': "1.0",
        'method="GET",route="other",status="404"': "2.0",
        'method="GET",route="other",status="500"': "1.0",
        'method="other",route="other",status="404"': "1.0",
    }
    assert 'codeintel_http_time_to_first_byte_seconds_count{route="/api/livez"} 2.0' in text


async def test_open_streams_go_up_and_down() -> None:
    metrics = Metrics()

    def open_streams() -> str:
        [value] = re.findall(rb'open_streams\{route="/api/sse"\} (.*)', metrics.render())
        return str(value, "ascii")

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        head = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        assert open_streams() == "1.0"
        raise ConnectionError

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(_message: Message) -> None:
        return None

    with pytest.raises(ConnectionError):
        scope = {"type": "http", "path": "/api/sse", "method": "GET"}
        await HttpMetrics(app, metrics)(scope, receive, send)
    assert open_streams() == "0.0"


async def test_tool_calls_by_outcome(context: ApplicationContext, index: Index) -> None:
    index({"a.py": "1"}, "main")
    metrics = Metrics()
    async with Client(build_server(context, metrics)) as client:
        await client.call_tool("files", {})
        for name, arguments in (("read", {"path": "nope"}), ("invented", {}), ("invented2", {})):
            with pytest.raises(ToolError):
                await client.call_tool(name, arguments)
    text = metrics.render().decode()
    assert 'codeintel_tool_duration_seconds_count{tool="files"} 1.0' in text
    assert 'codeintel_tool_duration_seconds_count{tool="other"} 2.0' in text
    calls = dict(re.findall(r"^codeintel_tool_calls_total\{(.*)\} (.*)$", text, re.MULTILINE))
    assert calls == {
        'outcome="ok",tool="files"': "1.0",
        'outcome="error",tool="read"': "1.0",
        'outcome="error",tool="other"': "2.0",
    }


async def test_the_age_of_each_index(serve: Serve, index: Index, index_dir: Path) -> None:
    index({"a.py": "1"}, "one")
    index({"a.py": "1"}, "two")
    async with serve() as client:
        text = (await client.get("/api/metrics")).text
        ages = re.findall(
            r'^codeintel_index_age_seconds\{repository="(\w+)"\} (.*)$', text, re.MULTILINE
        )
        assert [name for name, _ in ages] == ["one", "two"]
        assert all(0 <= float(age) < 60 for _, age in ages)
        index_path(index_dir, "two").unlink()
        assert 'repository="two"' not in (await client.get("/api/metrics")).text


def test_ages_are_bounded(index: Index, context: ApplicationContext) -> None:
    index({"a.py": "1"}, "main")
    [info] = context.indexes.scan().ready.values()
    text = Metrics().render({f"r{number}": info for number in range(1000)}).decode()
    assert text.count("codeintel_index_age_seconds{") == MAX_REPOSITORIES
