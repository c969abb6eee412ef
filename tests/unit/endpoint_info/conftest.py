"""Real servers on loopback: one as it should be, and one for each kind of harm."""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import uvloop
from fastmcp import FastMCP
from fastmcp.exceptions import ToolError
from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from ..authority import Authority  # noqa: TID252 - the tests are no package that is installed

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

REPOSITORY = Path(__file__).parents[3]
COLLECTIONS = REPOSITORY / ".cache" / "collections"
COLLECTION = COLLECTIONS / "ansible_collections" / "codeintel" / "mcp_edge"

if not COLLECTION.exists():
    COLLECTION.parent.mkdir(parents=True, exist_ok=True)
    COLLECTION.unlink(missing_ok=True)
    COLLECTION.symlink_to(REPOSITORY)
sys.path.insert(0, str(COLLECTIONS))

NAME = "edge.test"
LOOPBACK = "127.0.0.1"
CONNECTION_HEADERS = {b"connection", b"keep-alive", b"transfer-encoding", b"upgrade"}


async def livez(_: Request) -> Response:
    return PlainTextResponse("alive")


async def broken(_: Request) -> Response:
    return PlainTextResponse("broken", status_code=503)


async def denied(request: Request) -> Response:
    # Hypercorn's QUIC listener can die of a body that nobody reads.
    await request.body()
    return PlainTextResponse("who are you?", status_code=401)


async def guarded(request: Request) -> Response:
    """Want a token, and say where one learns how it is got; the name says what is wrong there."""
    await request.body()
    origin = f"https://{request.headers['host']}"
    if request.path_params["name"] == "away":
        origin = "https://other.test"
    about = f"{origin}/.well-known/oauth-protected-resource{request.url.path}"
    challenge = f'Bearer error="invalid_token", resource_metadata="{about}"'
    return Response(status_code=401, headers={"www-authenticate": challenge})


async def about_resource(request: Request) -> Response:
    name = request.path_params["name"]
    origin = f"https://{request.headers['host']}"
    issuers = {"lost": [], "foreign": ["https://login.test"]}.get(name, [origin])
    resource = f"{origin}/guarded/{'other' if name == 'mixed' else name}"
    return JSONResponse({"resource": resource, "authorization_servers": issuers})


async def about_issuer(request: Request) -> Response:
    return JSONResponse({"issuer": f"https://{request.headers['host']}/"})


async def silent(request: Request) -> Response:
    await request.body()
    await asyncio.Event().wait()
    return Response()


async def whoami(request: Request) -> Response:
    """Answer 200 to the bearer of the tests' token only."""
    known = request.headers.get("authorization") == "Bearer secret-of-the-tests"
    return Response(status_code=200 if known else 401)


async def events(request: Request) -> Response:
    """Send events at an interval; together says how many at once, ends that fewer come."""
    query = request.query_params
    interval, together = float(query["interval"]), int(query.get("together", 1))
    count = int(query.get("ends", query["count"]))

    async def stream() -> AsyncIterator[str]:
        for first in range(0, count, together):
            await asyncio.sleep(interval * (together - 1 if first == 0 else together))
            yield "".join(f"data: {n}\n\n" for n in range(first, min(first + together, count)))

    return StreamingResponse(stream(), media_type="text/event-stream")


class EndToEndHeaders:
    """Drop the headers that speak of one HTTP/1.1 connection, as an edge does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def cleaned(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    header for header in message["headers"] if header[0] not in CONNECTION_HEADERS
                ]
            await send(message)

        await self.app(scope, receive, cleaned)


def application() -> ASGIApp:
    mcp: FastMCP[None] = FastMCP("tests", version="1.2.3")

    @mcp.tool
    def grep(pattern: str) -> str:
        return f"app.py:1: {pattern}"

    @mcp.tool
    def fail() -> str:
        raise ToolError("nothing works")

    mcp_app = mcp.http_app(path="/mcp")
    routes = [
        Route("/api/livez", livez),
        Route("/api/broken", broken),
        Route("/api/sse", events),
        Route("/api/whoami", whoami),
        Route("/silent", silent, methods=["GET", "POST"]),
        Route("/denied", denied, methods=["GET", "POST"]),
        Route("/guarded/{name}", guarded, methods=["GET", "POST"]),
        Route("/.well-known/oauth-protected-resource/guarded/{name}", about_resource),
        Route("/.well-known/oauth-authorization-server", about_issuer),
        Mount("/", mcp_app),
    ]
    return EndToEndHeaders(Starlette(routes=routes, lifespan=mcp_app.lifespan))


def bound(kind: socket.SocketKind, address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound_socket = socket.socket(family, kind)
    bound_socket.bind((address, port))
    return bound_socket


@dataclass
class Site:
    """A server: its port and its settings."""

    port: int
    config: Config

    @classmethod
    def create(
        cls,
        pair: tuple[Path, Path],
        *,
        quic: bool = True,
        alt_svc: str | None = None,
        address: str = LOOPBACK,
        alpn: tuple[str, ...] = ("h2", "http/1.1"),
    ) -> Site:
        """Take a port; connections wait in its queue until the server runs."""
        tcp = bound(socket.SOCK_STREAM, address, 0)
        tcp.listen()
        port = tcp.getsockname()[1]
        config = Config()
        config.errorlog = None
        config.alpn_protocols = list(alpn)
        config.certfile, config.keyfile = map(str, pair)
        config.bind = f"fd://{tcp.detach()}"
        if quic:
            config.quic_bind = f"fd://{bound(socket.SOCK_DGRAM, address, port).detach()}"
            alt_svc = alt_svc or f'h3=":{port}"; ma=86400'
        config.alt_svc_headers = [alt_svc] if alt_svc else []
        return cls(port, config)

    @property
    def url(self) -> str:
        return f"https://{NAME}:{self.port}"


@dataclass(frozen=True)
class Sites:
    """The servers, by what is wrong with each."""

    ca_path: str
    stranger_path: str
    good: Site
    good_v6: Site
    without_h3: Site
    http1_only: Site
    dead_alt_svc: Site
    expired: Site
    other_name: Site

    def __iter__(self) -> Iterator[Site]:
        return iter(value for value in vars(self).values() if isinstance(value, Site))


async def serve_all(sites: Sites) -> None:
    async with asyncio.TaskGroup() as group:
        for site in sites:
            # Hypercorn's types of ASGI are stricter than Starlette's.
            app = cast("ASGIFramework", application())
            group.create_task(serve(app, site.config, shutdown_trigger=asyncio.Event().wait))


def run_servers(sites: Sites) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_all(sites))


@pytest.fixture(scope="session")
def dead_port() -> Iterator[int]:
    """Hold a UDP port where nobody answers."""
    with bound(socket.SOCK_DGRAM, LOOPBACK, 0) as taken:
        taken.connect((LOOPBACK, 9))  # it takes datagrams from there only: others are refused
        yield taken.getsockname()[1]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("tls"), "tests-ca")


@pytest.fixture(scope="session")
def sites(authority: Authority, dead_port: int) -> Iterator[Sites]:
    good = authority.issue(NAME)
    servers = Sites(
        ca_path=str(authority.path),
        stranger_path=str(Authority.create(authority.folder, "stranger-ca").path),
        good=Site.create(good),
        good_v6=Site.create(good, address="::1"),
        without_h3=Site.create(good, quic=False),
        http1_only=Site.create(good, quic=False, alpn=("http/1.1",)),
        dead_alt_svc=Site.create(good, quic=False, alt_svc=f'h3=":{dead_port}"'),
        expired=Site.create(authority.issue(NAME, days=-1)),
        other_name=Site.create(authority.issue("other.test")),
    )
    # A process of their own, so that the tests' work does not delay their events.
    process = multiprocessing.get_context("fork").Process(target=run_servers, args=(servers,))
    process.start()
    yield servers
    process.kill()
    process.join()
