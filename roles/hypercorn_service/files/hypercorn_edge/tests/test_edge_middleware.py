"""Forwarded headers, the limit of bodies, headers of responses, and the log; on a real server."""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from .edge_client import h3
from .edge_server import Server, serving
from .test_edge_drain import tcp_client

FOR, PROTO = "x-forwarded-for", "x-forwarded-proto"
LIMITED = {
    "max_body_size": 100_000,
    "response_headers": {"Server": "edge", "x-frame-options": "DENY"},
}


def seen(folder: Path, hops: int, headers: list[tuple[str, str]]) -> tuple[Any, str]:
    """Return the (client, scheme) that the app sees behind a unix socket."""
    with serving(folder, unix=True, edge={"forwarded_hops": hops}) as server:
        transport = httpx2.HTTPTransport(uds=str(server.path))
        with httpx2.Client(transport=transport, base_url="http://localhost") as client:
            scope = client.get("/scope", headers=headers).json()
    return scope["client"], scope["scheme"]


@pytest.mark.parametrize(
    ("hops", "expected"), [(0, (None, "http")), (2, (["6.6.6.6", 0], "https"))]
)
def test_forwarded_headers_on_a_unix_socket(tmp_path: Path, hops: int, expected: object) -> None:
    headers = [(FOR, "6.6.6.6"), (FOR, "203.0.113.7:5"), (PROTO, "https, http")]
    assert seen(tmp_path, hops, headers) == expected


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("limited"), edge=LIMITED) as server:
        yield server


async def pieces(size: int) -> Any:
    """Return a body of unknown length."""
    for _ in range(size // 10_000):
        yield b"x" * 10_000


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("http2", [True, False])
def test_large_bodies_are_refused(limited: Server, *, http2: bool, announced: bool) -> None:
    async def post(size: int) -> tuple[int, Any]:
        async with tcp_client(limited, http2=http2) as client:
            content = b"x" * size if announced else pieces(size)
            response = await client.post("/length", content=content)
            assert response.headers["server"] == "edge"
            return response.status_code, response.json()

    assert asyncio.run(post(100_000)) == (200, 100_000)
    refused = {"error": "request body too large", "status": 413}
    assert asyncio.run(post(110_000)) == (413, refused)
    assert asyncio.run(post(3_000_000)) == (413, refused)


@pytest.mark.parametrize("announced", [True, False])
def test_large_bodies_are_refused_on_http3(limited: Server, *, announced: bool) -> None:
    async def post(size: int) -> tuple[str, Any]:
        async with asyncio.timeout(5), h3(limited.host, limited.port) as client:
            headers = [(b"content-length", b"%d" % size)] if announced else []
            head, body = await client.fetch("/length", "POST", b"x" * size, headers)
            assert head["server"] == "edge"
            return head[":status"], json.loads(body)

    assert asyncio.run(post(100_000)) == ("200", 100_000)
    refused = {"error": "request body too large", "status": 413}
    assert asyncio.run(post(110_000)) == ("413", refused)
    assert asyncio.run(post(1_000_000)) == ("413", refused)


def test_an_announced_body_is_not_awaited(limited: Server) -> None:
    async def announce() -> str:
        async with asyncio.timeout(5), h3(limited.host, limited.port) as client:
            headers = [(b"content-length", b"100001")]
            return (await client.head(client.begin("/length", "POST", headers)))[":status"]

    assert asyncio.run(announce()) == "413"


def test_a_client_that_sends_first_and_reads_then_gets_the_answer(tmp_path: Path) -> None:
    """An early close would be an error to it, or to the proxy in front."""
    with (
        serving(tmp_path, unix=True, edge={"max_body_size": 100_000}) as server,
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.connect(str(server.path))
        client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n")
        client.sendall(b"x" * 5_000_000)
        assert client.recv(1000).startswith(b"HTTP/1.1 413")


def test_headers_replace_those_of_the_app(limited: Server) -> None:
    async def get() -> httpx2.Response:
        async with tcp_client(limited, http2=True) as client:
            return await client.get("/")

    headers = asyncio.run(get()).headers
    assert headers.get_list("server") == ["edge"]  # the app sends server: app
    assert headers["x-frame-options"] == "DENY"
    assert headers["content-type"] == "text/plain"


@pytest.mark.parametrize("kind", ["stock", "edge"])
def test_lines_of_the_log_appear_once(tmp_path: Path, kind: str) -> None:
    """See https://github.com/pgjones/hypercorn/issues/357 ."""
    environment = {"ROOT_HANDLER": "1"}
    with serving(tmp_path, kind, unix=True, environment=environment) as server:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(server.path))
            client.sendall(b"GET /fails HTTP/1.1\r\nHost: a\r\n\r\n")
            while client.recv(1000):
                pass
        errors = server.output().count("RuntimeError: the app failed")
        assert errors == (1 if kind == "edge" else 2)
