"""The lines that say who asked for what."""

import json
from typing import Any

import anyio
import pytest
from hypercorn_edge.access_log import AccessLog
from hypercorn_edge.asgi import Message, Receive, Scope, Send


def line(
    messages: list[Message], *, fails: bool = False, received: Message | None = None, **scope: Any
) -> dict[str, str]:
    """Return the one line that a request leaves whose app sends `messages`."""
    lines: list[str] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        if received is not None:
            await receive()
        for message in messages:
            await send(message)
        if fails:
            raise RuntimeError

    async def receive() -> Message:
        assert received is not None
        return received

    async def send(_message: Message) -> None:
        return None

    given: Scope = {
        "type": "http", "http_version": "3", "scheme": "https", "method": "GET",
        "raw_path": b"/", "query_string": b"", "headers": [], "client": ("192.0.2.1", 5),
    } | scope  # fmt: skip
    try:
        anyio.run(AccessLog(app, lines.append), given, receive, send)
    except RuntimeError:
        assert fails
    (text,) = lines
    assert text.isascii()
    assert text.isprintable()
    entry: dict[str, str] = json.loads(text)
    assert list(entry)[:4] == ["time", "status", "address", "net"]
    return entry


def test_a_request_leaves_a_line_with_client_and_answer() -> None:
    entry = line(
        [{"type": "http.response.start", "status": 200},
         {"type": "http.response.body", "body": b"four", "more_body": True},
         {"type": "http.response.body", "body": b"five!"}],
        raw_path=b"/a%20b", query_string=b"q=1", client=("fd53::1", 7),
        headers=[(b"host", b"notes.test"), (b"user-agent", b"curl/8")],
    )  # fmt: skip
    assert entry.pop("time")
    assert float(entry.pop("seconds")) < 1
    assert entry == {
        "status": "200", "address": "fd53::1", "net": "fd53::/64", "protocol": "HTTP/3.0",
        "bytes_out": "9", "scheme": "https", "host": "notes.test", "method": "GET",
        "uri": "/a%20b?q=1", "user_agent": "curl/8", "request_limit": "", "concurrency_limit": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("address", "net"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::5", "2001:db8::/64"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_an_ipv6_client_counts_as_its_64(address: str, net: str) -> None:
    assert line([], client=(address, 7))["net"] == net


def test_requests_without_an_answer_leave_a_line_too() -> None:
    assert line([], fails=True)["status"] == "500"
    assert line([], received={"type": "http.disconnect"})["status"] == "499"
    assert line([{"type": "websocket.accept"}], type="websocket")["status"] == "101"
    refused: list[Message] = [{"type": "websocket.close"}]
    assert line(refused, type="websocket")["status"] == "403"
    limited: dict[str, Any] = {"type": "websocket", "edge.request_limit": "REJECTED"}
    assert line(refused, **limited)["status"] == "429"
    closed: list[Message] = [{"type": "websocket.accept"}, {"type": "websocket.close"}]
    assert line(closed, type="websocket")["status"] == "101"
    assert line([], client=None)["address"] == "unix:"


@pytest.mark.parametrize(
    "hostile",
    [
        b'","status":"403","address":"198.51.100.7',
        b'\n{"time":"x","status":"403","address":"198.51.100.7"}',
        b"\\",
        b"\x00\x1b[31m\r\n\x85\xff",
        "\u2028".encode(),
        b"x" * 70000,
    ],
)
def test_a_client_cannot_forge_a_field_or_a_line(hostile: bytes) -> None:
    entry = line(
        [{"type": "http.response.start", "status": 200}],
        raw_path=hostile, query_string=hostile, method=hostile.decode("latin-1"),
        headers=[(b"host", hostile), (b"user-agent", hostile)],
    )  # fmt: skip
    assert (entry["status"], entry["address"]) == ("200", "192.0.2.1")
    assert entry["user_agent"] == hostile.decode("latin-1")
