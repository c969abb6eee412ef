import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx2
import pytest
from codeintel.app import create_app
from codeintel.context import ApplicationContext
from codeintel.directory import IndexDirectory
from codeintel.errors import CodeintelError
from codeintel.metrics import Metrics
from codeintel.peer import client_key, network_key
from codeintel.server import build_server
from codeintel.settings import Settings
from fastmcp import FastMCP
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier
from starlette.applications import Starlette

pytestmark = pytest.mark.anyio

Index = Callable[..., object]
Connect = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]

ALICE = {"Authorization": "Bearer alice"}
BOB = {"Authorization": "Bearer bob"}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
ACCEPT = {"Accept": "application/json, text/event-stream"}
WHO = {"name": "test", "version": "0"}


def with_limits(settings: Settings, **limits: object) -> Settings:
    """Return `settings` with limits as they stand in the environment."""
    return Settings.model_validate(settings.model_dump() | limits)


def client(app: Starlette, address: str = "203.0.113.7") -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app, client=(address, 1), raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://localhost")


@asynccontextmanager
async def running(settings: Settings, server: FastMCP | None = None) -> AsyncIterator[Starlette]:
    app = create_app(settings, server)
    async with app.router.lifespan_context(app):
        yield app


def authenticated(settings: Settings) -> FastMCP:
    """Return the product's server behind authentication."""
    context = ApplicationContext("1.2.3", settings, IndexDirectory(settings.index_dir))
    server = build_server(context, Metrics())
    tokens: dict[str, dict[str, Any]] = {
        name: {"client_id": "one", "scopes": []} for name in ("alice", "bob")
    }
    server.auth = StaticTokenVerifier(tokens)
    return server


async def read_metrics(app: Starlette) -> str:
    async with client(app, "127.0.0.1") as http:
        return (await http.get("/api/metrics")).text


async def statuses(
    http: httpx2.AsyncClient, path: str, times: int, headers: dict[str, str] | None = None
) -> list[int]:
    return [(await http.get(path, headers=headers)).status_code for _ in range(times)]


async def test_over_the_limit_is_a_429_with_the_time_to_wait(settings: Settings) -> None:
    async with running(with_limits(settings, rate_limit="2/day")) as app, client(app) as http:
        assert await statuses(http, "/", 2) == [200, 200]
        refused = await http.get("/")
        assert refused.status_code == 429
        assert refused.headers["content-type"] == "application/json"
        wait = int(refused.headers["retry-after"])
        assert 1 <= wait <= 86_400
        seconds = "second" if wait == 1 else "seconds"
        assert refused.json() == {"detail": f"more than 2 requests in 1 day; wait {wait} {seconds}"}
        async with client(app, "203.0.113.8") as neighbour:
            assert await statuses(neighbour, "/", 1) == [200]
        metrics = await read_metrics(app)
    assert 'http_requests_total{method="GET",route="/",status="429"} 1.0' in metrics


@pytest.mark.parametrize("path", ["/", "/api/capz", "/mcp", "/mcp/", "/nope", "/api/nope", "/api"])
async def test_each_request_counts_once_against_one_budget(settings: Settings, path: str) -> None:
    async with running(with_limits(settings, rate_limit="4/day")) as app, client(app) as http:
        assert 429 not in await statuses(http, path, 3)
        assert 429 not in await statuses(http, "/api/capz", 1)
        for everywhere in ("/", "/api/capz", "/mcp", "/nope"):
            assert await statuses(http, everywhere, 1) == [429]


async def test_watching_is_not_limited(settings: Settings) -> None:
    async with running(with_limits(settings, rate_limit="1/day")) as app, client(app) as http:
        assert await statuses(http, "/", 2) == [200, 429]
        for path in ("/api/livez", "/api/readyz", "/api/metrics", "/api/%6Civez"):
            assert 429 not in await statuses(http, path, 3), path
        for path in ("/api/livez/", "/api//livez", "//api/livez", "/API/livez", "/api/livez/x"):
            assert await statuses(http, path, 1) == [429], path


async def test_event_streams_count_when_they_begin(settings: Settings) -> None:
    async with running(with_limits(settings, rate_limit="2/day")) as app, client(app) as http:
        stream = await http.get("/api/sse?interval=0.01&count=20")
        assert stream.text.count("event: tick") == 20
        assert await statuses(http, "/", 2) == [200, 429]


async def test_an_empty_limit_is_none(settings: Settings) -> None:
    async with running(with_limits(settings, rate_limit="")) as app, client(app) as http:
        assert set(await statuses(http, "/", 1300)) == {200}


async def test_the_default_is_1200_a_minute(settings: Settings) -> None:
    async with running(settings) as app, client(app) as http:
        # A new minute may begin on the way.
        assert 1200 <= (await statuses(http, "/nope", 1500)).count(404) < 1500


async def test_a_verified_token_has_a_budget_of_its_own(settings: Settings) -> None:
    settings = with_limits(settings, rate_limit="2/day")
    async with running(settings, authenticated(settings)) as app, client(app) as http:
        for token in (ALICE, BOB):
            assert await statuses(http, "/mcp", 3, token) == [400, 400, 429]
        # The token counts wherever it is used, and the address is still free.
        async with client(app, "198.51.100.1") as elsewhere:
            assert await statuses(elsewhere, "/mcp", 1, ALICE) == [429]
        assert await statuses(http, "/", 3) == [200, 200, 429]


async def test_made_up_tokens_count_against_the_address(settings: Settings) -> None:
    settings = with_limits(settings, rate_limit="3/day")
    async with running(settings, authenticated(settings)) as app, client(app) as http:
        tokens = [{"Authorization": f"Bearer made-up-{number}"} for number in range(5)]
        met = [(await statuses(http, "/mcp", 1, token))[0] for token in tokens]
        assert met == [401, 401, 401, 429, 429]
        assert await statuses(http, "/api/capz", 1) == [429]
        # Others behind the same address are let in by their tokens.
        assert await statuses(http, "/mcp", 1, ALICE) == [400]


async def test_a_token_is_no_way_around_where_nothing_verifies_it(settings: Settings) -> None:
    settings = with_limits(settings, rate_limit="1/day")
    async with running(settings, authenticated(settings)) as app, client(app) as http:
        assert await statuses(http, "/api/capz", 1, ALICE) == [200]
        assert await statuses(http, "/", 1, BOB) == [429]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.7", "203.0.113.8", False),
        ("203.0.113.7", "::ffff:203.0.113.7", True),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.8", False),
        ("testclient", "other", False),
    ],
)
def test_addresses_that_are_one_client(one: str, other: str, *, same: bool) -> None:
    keys = {client_key({"type": "http", "client": (host, 1)}) for host in (one, other)}
    assert len(keys) == (1 if same else 2)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.7", "::ffff:203.0.113.255", True),
        ("203.0.113.7", "203.0.114.7", False),
        ("2001:db8:0:1::1", "2001:db8:0:ffff::1", True),
        ("2001:db8:0:1::1", "2001:db8:1:1::1", False),
        ("0.0.0.1", "::1", False),
        ("testclient", "other", False),
    ],
)
def test_addresses_that_are_of_one_network(one: str, other: str, *, same: bool) -> None:
    keys = {network_key({"type": "http", "client": (host, 1)}) for host in (one, other)}
    assert len(keys) == (1 if same else 2)


async def test_a_unix_socket_has_no_address_and_no_limit(settings: Settings) -> None:
    assert client_key({"type": "http", "client": None}) is None
    assert network_key({"type": "http", "client": None}) is None
    async with running(with_limits(settings, rate_limit="1/day")) as app:

        async def as_by_unix_socket(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401
            await app({**scope, "client": None}, receive, send)

        transport = httpx2.ASGITransport(as_by_unix_socket)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            assert await statuses(http, "/", 3) == [200, 200, 200]


async def call(
    http: httpx2.AsyncClient, tool: str, headers: dict[str, str] | None = None
) -> tuple[bool, str]:
    """Call a tool that needs no arguments, or none that work; return (is error, text)."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": WHO,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": tool, "arguments": {}, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    protocol = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": tool}
    response = await http.post("/mcp", json=body, headers=ACCEPT | protocol | (headers or {}))
    assert response.status_code == 200
    return read_result(response)


def read_result(response: httpx2.Response) -> tuple[bool, str]:
    event = httpx2.Response(200, text=response.text.partition("data: ")[2] or response.text)
    result = event.json()["result"]
    return bool(result.get("isError")), result["content"][0]["text"]


REFUSAL = re.compile(r"status: more than 2 calls in 1 day; wait [1-9][0-9]* seconds?")


async def test_a_tool_over_its_limit_says_so_as_a_tool_error(settings: Settings) -> None:
    settings = with_limits(settings, tool_rate_limits='{"status": "2/day"}')
    async with running(settings) as app, client(app) as http:
        assert [(await call(http, "status"))[0] for _ in range(2)] == [False, False]
        failed, text = await call(http, "status")
        assert failed
        assert REFUSAL.fullmatch(text)
        assert not REFUSAL.search((await call(http, "files"))[1])
        async with client(app, "203.0.113.8") as neighbour:
            assert (await call(neighbour, "status"))[0] is False
        metrics = await read_metrics(app)
    calls = dict(re.findall(r"^codeintel_tool_calls_total\{(.*)\} (.*)$", metrics, re.MULTILINE))
    assert {labels: count for labels, count in calls.items() if "status" in labels} == {
        'outcome="ok",tool="status"': "3.0",
        'outcome="refused",tool="status"': "1.0",
    }


async def test_tools_are_counted_by_verified_token(settings: Settings) -> None:
    settings = with_limits(settings, tool_rate_limits={"status": "2/day"})
    async with running(settings, authenticated(settings)) as app, client(app) as http:
        for token in (ALICE, BOB):
            met = [(await call(http, "status", token))[0] for _ in range(3)]
            assert met == [False, False, True]


async def test_a_session_does_not_hide_who_calls(settings: Settings) -> None:
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": WHO}
    opening = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
    calling = {"name": "status", "arguments": {}}
    body = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": calling}
    settings = with_limits(settings, tool_rate_limits={"status": "2/day"})
    async with running(settings) as app, client(app) as one, client(app, "192.0.2.1") as other:
        opened = await one.post("/mcp", json=opening, headers=ACCEPT)
        session = ACCEPT | {"Mcp-Session-Id": opened.headers["mcp-session-id"]}
        met = [
            read_result(await http.post("/mcp", json=body, headers=session))[0]
            for http in (one, one, one, other, other, other)
        ]
    assert met == [False, False, True, False, False, True]


def test_an_unknown_tool_stops_the_start(settings: Settings) -> None:
    with pytest.raises(CodeintelError) as refusal:
        create_app(with_limits(settings, tool_rate_limits='{"grp": "60/minute"}'))
    assert str(refusal.value) == (
        "CODEINTEL_TOOL_RATE_LIMITS: unknown tool 'grp'; did you mean grep?"
    )
