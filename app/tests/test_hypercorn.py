"""The application under the real server, started as the service starts it."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest

Index = Callable[..., object]


class Server:
    """A Hypercorn process on a unix socket that was opened before it, as by systemd."""

    def __init__(self, socket_path: Path, log: Path, environment: dict[str, str]) -> None:
        self.socket_path = socket_path
        self.log = log
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(socket_path))
        listener.listen()
        command = [sys.executable, "-m", "hypercorn", "--workers", "0"]
        command += ["--bind", f"fd://{listener.fileno()}", "codeintel.asgi:app"]
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                command,
                pass_fds=[listener.fileno()],
                stderr=stderr,
                env=os.environ | environment,
                cwd=socket_path.parent,
            )
        listener.close()

    def client(self) -> httpx2.Client:
        transport = httpx2.HTTPTransport(uds=str(self.socket_path))
        return httpx2.Client(transport=transport, base_url="http://localhost", timeout=20)


@pytest.fixture
def server(tmp_path: Path, index: Index, index_dir: Path) -> Iterator[Server]:
    index({"a.py": "needle\n"}, "main")
    running = Server(
        tmp_path / "s",
        tmp_path / "log",
        {
            "CODEINTEL_PUBLIC_URL": "https://mcp.example.com",
            "CODEINTEL_INDEX_DIR": str(index_dir),
            "CODEINTEL_AUTH": "none",
            "CODEINTEL_ALLOW_PUBLIC_WITHOUT_AUTH": "true",
            "CODEINTEL_RATE_LIMIT": "1/day",  # not for those who come over the unix socket
        },
    )
    yield running
    running.process.kill()
    running.process.wait()


def test_service(server: Server) -> None:
    with server.client() as client:
        # The kernel queues the connection until the application has started.
        ready = client.get("/api/readyz")
        assert ready.status_code == 200
        proxied = {
            "Host": "mcp.example.com",
            "X-Forwarded-For": "203.0.113.7",
            "X-Forwarded-Proto": "https",
        }
        origin = {"Origin": "https://mcp.example.com"}
        assert client.get("/", headers=proxied | origin).status_code == 200
        assert client.get("/", headers=proxied | {"Origin": "https://evil"}).status_code == 403
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
        assert client.get("/api/metrics").status_code == 200
        assert client.get("/api/metrics", headers=proxied).status_code == 404
        assert_events_arrive_one_by_one(client)
        assert_both_generations_work(client)
    server.process.terminate()
    assert server.process.wait(10) == 0
    lines = [line for line in server.log.read_text().splitlines() if line.startswith("{")]
    messages = [json.loads(line)["message"] for line in lines]
    assert messages[0].startswith("started")
    assert messages[-1] == "stopped"
    assert "Traceback" not in server.log.read_text()


def assert_events_arrive_one_by_one(client: httpx2.Client) -> None:
    with client.stream("GET", "/api/sse?interval=0.1&count=4") as stream:
        assert stream.headers["x-accel-buffering"] == "no"
        arrivals = [time.monotonic() for line in stream.iter_lines() if line.startswith("data:")]
    assert len(arrivals) == 4
    assert min(b - a for a, b in pairwise(arrivals)) > 0.03


def assert_both_generations_work(client: httpx2.Client) -> None:
    """Speak the protocol by hand: anyio's asynchronous unix sockets are not reliable on 3.13.0."""
    accept = {"Accept": "application/json, text/event-stream"}
    grep = {"name": "grep", "arguments": {"pattern": "needle"}}

    def post(
        method: str, params: Mapping[str, object], headers: dict[str, str]
    ) -> tuple[dict[str, object], httpx2.Headers]:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        response = client.post("/mcp", json=body, headers=accept | headers)
        assert response.status_code == 200
        [data] = [line for line in response.text.splitlines() if "jsonrpc" in line]
        result: dict[str, object] = json.loads(data.removeprefix("data: "))["result"]
        return result, response.headers

    who = {"name": "test", "version": "0"}
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": who}
    _, opened = post("initialize", hello, {})
    with_session, _ = post("tools/call", grep, {"Mcp-Session-Id": opened["mcp-session-id"]})

    key = "io.modelcontextprotocol/"
    meta = {f"{key}protocolVersion": "2026-07-28", f"{key}clientInfo": who}
    meta |= {f"{key}clientCapabilities": {}}
    headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "grep"}
    stateless, _ = post("tools/call", {**grep, "_meta": meta}, headers)

    for result in (with_session, stateless):
        found: Any = result["structuredContent"]
        assert found["files"] == [{"path": "a.py", "lines": ["1: needle"]}]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "CODEINTEL_PUBLC_URL",
            "x",
            "unknown setting CODEINTEL_PUBLC_URL; did you mean CODEINTEL_PUBLIC_URL?",
        ),
        (
            "CODEINTEL_TOOL_RATE_LIMITS",
            '{"grp": "60/minute"}',
            "CODEINTEL_TOOL_RATE_LIMITS: unknown tool 'grp'; did you mean grep?",
        ),
    ],
)
def test_a_bad_setting_stops_the_start(tmp_path: Path, name: str, value: str, message: str) -> None:
    refused = Server(tmp_path / "s", tmp_path / "log", {name: value})
    assert refused.process.wait(20) != 0
    assert refused.log.read_text() == f"codeintel: {message}\n"
