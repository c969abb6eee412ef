import json
import logging
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest
from codeintel.app import create_app
from codeintel.peer import is_from_edge
from codeintel.settings import Settings
from fastmcp import FastMCP
from starlette.requests import Request
from starlette.responses import Response

pytestmark = pytest.mark.anyio

Serve = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


def lines(capsys: pytest.CaptureFixture[str], logger: str) -> list[dict[str, Any]]:
    written = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    return [line for line in written if line["logger"] == logger]


ACCESS = "codeintel.middleware.access_log"


async def test_each_request_is_one_line(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    async with serve() as client:
        await client.get("/api/livez?secret=1")
        await client.put("/mcp")
        await client.get("/x", headers={"Host": "evil.example"})
    first, second, third = lines(capsys, ACCESS)
    assert first["client"] == "127.0.0.1"
    assert (first["method"], first["path"], first["status"]) == ("GET", "/api/livez", 200)
    assert 0 <= first["seconds"] < 5
    assert (second["method"], second["path"], second["status"]) == ("PUT", "/mcp", 405)
    assert third["status"] == 421
    assert len({line["request_id"] for line in (first, second, third)}) == 3


async def test_other_lines_of_a_request_have_its_name(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    server = FastMCP("other")

    @server.custom_route("/crash", methods=["GET"])
    async def crash(_request: Request) -> Response:
        logging.getLogger("deep").warning("before")
        raise RuntimeError("broken")

    app = create_app(settings, server)
    transport = httpx2.ASGITransport(app, client=("203.0.113.7", 0), raise_app_exceptions=False)
    headers = {"X-Request-ID": "edge-17"}
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        assert (await client.get("/crash", headers=headers)).status_code == 500
    written = capsys.readouterr().err.splitlines()
    named = [json.loads(line) for line in written if "edge-17" in line]
    assert [line["logger"] for line in named] == ["deep", ACCESS]
    assert named[1]["status"] == 500
    assert "request_id" not in json.loads(written[0])


async def test_only_the_edge_names_requests(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    app = create_app(settings)

    async def name(peer: tuple[str, int] | None, given: str) -> str:
        async def with_peer(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
            await app({**scope, "client": peer}, receive, send)

        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(with_peer), base_url="http://localhost"
        ) as client:
            await client.get("/api/livez", headers={"X-Request-ID": given})
        [line] = lines(capsys, ACCESS)
        return str(line["request_id"])

    async with app.router.lifespan_context(app):
        assert await name(None, "abc") == "abc"
        assert await name(("203.0.113.7", 0), "0f3c.A-b_") == "0f3c.A-b_"
        own = re.compile("[0-9a-f]{32}")
        assert own.fullmatch(await name(("127.0.0.1", 4711), "abc"))
        for bad in ("", "x" * 65, 'a"b', "a b"):
            assert own.fullmatch(await name(None, bad))


def test_who_is_the_edge() -> None:
    assert is_from_edge({"client": None})
    assert is_from_edge({})
    assert is_from_edge({"client": ("203.0.113.7", 0)})
    assert not is_from_edge({"client": ("127.0.0.1", 1)})


@pytest.mark.parametrize("path", ["/api/livez", "/nope"])
async def test_no_other_logger_writes_a_line_for_a_request(
    serve: Serve, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    async with serve() as client:
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # this client's own
        capsys.readouterr()
        await client.get(path)
        written = capsys.readouterr().err.splitlines()
    assert len(written) == 1
