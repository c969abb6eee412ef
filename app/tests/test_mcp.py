from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest
from codeintel.app import create_app
from codeintel.server import CapabilityGate
from codeintel.settings import Settings
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp.tools import Tool
from fastmcp.utilities.asgi_transport import StreamingASGITransport

pytestmark = pytest.mark.anyio

Index = Callable[..., object]
Serve = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]

ACCEPT = {"Accept": "application/json, text/event-stream"}
STATELESS = "2026-07-28"


def request(method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}


def stateless(method: str, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return body and headers of a call in the generation without sessions."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": STATELESS,
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    headers = {**ACCEPT, "MCP-Protocol-Version": STATELESS, "Mcp-Method": method}
    if "name" in params:
        headers["Mcp-Name"] = params["name"]
    return request(method, {**params, "_meta": meta}), headers


INITIALIZE = request(
    "initialize",
    {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "0"},
    },
)


@pytest.fixture
async def session(serve: Serve) -> AsyncIterator[tuple[httpx2.AsyncClient, dict[str, str]]]:
    async with serve() as client:
        opened = await client.post("/mcp", json=INITIALIZE, headers=ACCEPT)
        assert opened.status_code == 200
        yield (
            client,
            {
                **ACCEPT,
                "Mcp-Session-Id": opened.headers["mcp-session-id"],
                "MCP-Protocol-Version": "2025-11-25",
            },
        )


Session = tuple[httpx2.AsyncClient, dict[str, str]]


@pytest.mark.parametrize("mode", ["legacy", STATELESS])
async def test_a_client_of_either_generation(settings: Settings, index: Index, mode: Any) -> None:  # noqa: ANN401 (a literal type of FastMCP's)
    index({"a.py": "needle"}, "main")
    app = create_app(settings)

    def through_the_composite(
        headers: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
        auth: httpx2.Auth | None = None,
        **_named: object,
    ) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            transport=StreamingASGITransport(app), headers=headers, timeout=timeout, auth=auth
        )

    transport = StreamableHttpTransport(
        "http://localhost/mcp", httpx_client_factory=through_the_composite
    )
    async with app.router.lifespan_context(app), Client[Any](transport, mode=mode) as client:
        assert len(await client.list_tools()) == 6
        found = await client.call_tool("grep", {"pattern": "needle"})
        assert found.structured_content is not None
        assert found.structured_content["files"][0]["path"] == "a.py"


@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
async def test_a_session_from_open_to_delete(serve: Serve, index: Index, path: str) -> None:
    index({"a.py": "1"}, "main")
    async with serve() as client:
        opened = await client.post(path, json=INITIALIZE, headers=ACCEPT)
        assert opened.status_code == 200
        assert '"version":"0.1.0"' in opened.text
        headers = {**ACCEPT, "Mcp-Session-Id": opened.headers["mcp-session-id"]}
        listed = await client.post(path, json=request("tools/list"), headers=headers)
        assert '"grep"' in listed.text
        assert (await client.delete(path, headers=headers)).status_code == 200
        gone = await client.post(path, json=request("tools/list"), headers=headers)
        assert gone.status_code == 404


async def test_stateless_calls_need_no_session(serve: Serve, index: Index) -> None:
    index({"a.py": "1"}, "main")
    async with serve() as client:
        body, headers = stateless("tools/call", {"name": "read", "arguments": {"path": "a.py"}})
        called = await client.post("/mcp", json=body, headers=headers)
        assert called.status_code == 200
        assert "mcp-session-id" not in called.headers
        assert '"total_lines":1' in called.text
        body, headers = stateless("server/discover", {})
        assert STATELESS in (await client.post("/mcp", json=body, headers=headers)).text


async def test_a_stateless_call_does_not_list_the_tools_first(
    serve: Serve, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    index({"a.py": "1"}, "main")
    listed = 0
    plain = CapabilityGate.list_tools

    async def count(gate: CapabilityGate, tools: Sequence[Tool]) -> Sequence[Tool]:
        nonlocal listed
        listed += 1
        return await plain(gate, tools)

    async with serve() as client:
        monkeypatch.setattr(CapabilityGate, "list_tools", count)
        body, headers = stateless("tools/call", {"name": "read", "arguments": {"path": "a.py"}})
        assert (await client.post("/mcp", json=body, headers=headers)).status_code == 200
        assert listed == 0
        body, headers = stateless("tools/list", {})
        assert (await client.post("/mcp", json=body, headers=headers)).status_code == 200
        assert listed == 1


@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
async def test_resumption_is_refused_not_crashed(session: Session, path: str) -> None:
    client, headers = session
    refused = await client.get(path, headers={**headers, "Last-Event-ID": "17"})
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == -32600
    assert "Last-Event-ID" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("change", "content", "status"),
    [
        ({}, b"{", 400),
        ({}, b"[]", 400),
        ({}, b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}', 400),
        ({}, b"[" * 100_000, 400),
        ({"MCP-Protocol-Version": "1999-01-01"}, b"{}", 400),
        ({"MCP-Protocol-Version": STATELESS}, b"{", 400),
        ({"MCP-Protocol-Version": STATELESS}, b"[" * 100_000, 400),
        ({"Accept": "text/html"}, b"{}", 406),
        ({"Content-Type": "text/plain"}, b"{}", 400),
        ({"Mcp-Session-Id": "unknown"}, b"{}", 404),
    ],
)
async def test_malformed_requests_are_the_clients_fault(
    session: Session, change: dict[str, str], content: bytes, status: int
) -> None:
    client, headers = session
    headers = {**headers, "Content-Type": "application/json", **change}
    assert (await client.post("/mcp", content=content, headers=headers)).status_code == status
