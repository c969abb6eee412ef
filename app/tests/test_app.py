from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import httpx2
import pytest
from codeintel.app import MAX_BODY_BYTES
from fastmcp import FastMCP
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

pytestmark = pytest.mark.anyio

Serve = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]

PUBLIC = {"Host": "mcp.example.com"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("GET", "/api", 404),
        ("GET", "/api/", 404),
        ("GET", "/api/nope", 404),
        ("GET", "/api/livez/", 404),
        ("GET", "/mcp/mcp", 404),
        ("GET", "/.well-known/oauth-authorization-server", 404),
        ("POST", "/", 404),
        ("POST", "/api/livez", 405),
        ("PUT", "/mcp", 405),
    ],
)
async def test_refusals_are_json_and_never_redirects(
    serve: Serve, method: str, path: str, status: int
) -> None:
    async with serve() as client:
        response = await client.request(method, path)
        assert response.status_code == status
        assert response.headers["content-type"] == "application/json"
        assert response.json()


async def test_routes_beside_the_endpoint_are_reached_and_crashes_are_json(serve: Serve) -> None:
    server = FastMCP("other")

    @server.custom_route("/.well-known/thing", methods=["GET"])
    async def thing(request: Request) -> Response:
        return JSONResponse({"url": str(request.url)})

    @server.custom_route("/crash", methods=["GET"])
    async def crash(_request: Request) -> Response:
        raise RuntimeError("private")

    async with serve(server) as client:
        found = await client.get("/.well-known/thing", headers=PUBLIC)
        assert found.json() == {"url": "http://mcp.example.com/.well-known/thing"}
        assert (await client.post("/.well-known/thing")).status_code == 405
        assert (await client.get("/.well-known/thing/")).status_code == 404
        crashed = await client.get("/crash")
        assert crashed.status_code == 500
        assert crashed.json() == {"detail": "Internal Server Error"}


@pytest.mark.parametrize("path", ["/", "/api/livez", "/mcp"])
async def test_hosts(serve: Serve, path: str) -> None:
    async with serve() as client:
        for host in ("mcp.example.com", "mcp.example.com:443", "localhost", "127.0.0.1:8", "[::1]"):
            response = await client.get(path, headers={"Host": host})
            assert response.status_code in {200, 400}, host
        for host in ("evil.example", "mcp.example.com.evil.example", "", "*"):
            response = await client.get(path, headers={"Host": host})
            assert response.status_code == 421, host


@pytest.mark.parametrize("path", ["/", "/api/livez", "/mcp"])
async def test_origins(serve: Serve, path: str) -> None:
    url = f"https://mcp.example.com{path}"
    async with serve() as client:
        same = await client.get(url, headers={"Origin": "https://mcp.example.com"})
        assert same.status_code in {200, 400}
        assert (await client.get(url)).status_code in {200, 400}
        for origin in (
            "https://evil.example",
            "http://mcp.example.com",
            "https://mcp.example.com:8443",
            "http://localhost",
            "null",
        ):
            response = await client.get(url, headers={"Origin": origin})
            assert response.status_code == 403, origin


async def chunks(total: int) -> AsyncIterator[bytes]:
    for _ in range(total // 65536):
        yield b"x" * 65536
    yield b"x" * (total % 65536)


@pytest.mark.parametrize("path", ["/", "/api/livez", "/mcp", "/nope"])
async def test_bodies_are_limited_everywhere(serve: Serve, path: str) -> None:
    async with serve() as client:
        for size, refused in ((MAX_BODY_BYTES, False), (MAX_BODY_BYTES + 1, True)):
            whole = await client.post(path, content=b"x" * size)
            chunked = await client.post(path, content=chunks(size))
            assert "content-length" not in chunked.request.headers
            assert {whole.status_code == 413, chunked.status_code == 413} == {refused}
