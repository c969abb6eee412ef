import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import httpx2
import pytest
from codeintel.context import ApplicationContext
from codeintel.metrics import HttpMetrics, Metrics
from codeintel.server import build_server
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
    calls = dict(re.findall(r"^codeintel_tool_calls_total\{(.*)\} (.*)$", text, re.MULTILINE))
    assert calls == {
        'outcome="ok",tool="files"': "1.0",
        'outcome="error",tool="read"': "1.0",
        'outcome="error",tool="other"': "2.0",
    }
