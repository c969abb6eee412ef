"""Whatever a client sends to the endpoint is its own fault: the real server never says 5xx."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from codeintel.indexer import build_index
from hypothesis import given, settings
from hypothesis import strategies as st

from .test_hypercorn import Server

WHO = {"name": "test", "version": "0"}
KEY = "io.modelcontextprotocol/"
META = {
    f"{KEY}protocolVersion": "2026-07-28",
    f"{KEY}clientInfo": WHO,
    f"{KEY}clientCapabilities": {},
}
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": WHO}
PARAMS: dict[str, dict[str, Any]] = {
    "initialize": HELLO,
    "ping": {},
    "tools/list": {"cursor": "x"},
    "tools/call": {"name": "grep", "arguments": {"pattern": "needle", "cursor": "x"}},
    "resources/list": {"cursor": "x"},
    "resources/templates/list": {},
    "resources/read": {"uri": "codeintel://main/a.py"},
    "prompts/list": {},
    "prompts/get": {"name": "explore", "arguments": {}},
    "completion/complete": {
        "ref": {"type": "ref/prompt", "name": "explore"},
        "argument": {"name": "x", "value": "y"},
    },
    "logging/setLevel": {"level": "info"},
    "subscriptions/listen": {"notifications": {"toolsListChanged": True}},
    "server/discover": {},
    "tasks/get": {"taskId": "x"},
    "notifications/initialized": {},
    "notifications/cancelled": {"requestId": 1},
    "nope": {},
}
HEADERS = [
    "Accept",
    "Content-Type",
    "Mcp-Session-Id",
    "MCP-Protocol-Version",
    "Mcp-Method",
    "Mcp-Name",
    "Mcp-Param-Pattern",
    "Last-Event-ID",
    "Authorization",
    "X-Request-ID",
    "X-Forwarded-For",
    "Content-Encoding",
    "Expect",
]
BASE = {"Host": "localhost", "Content-Type": "application/json"}
ACCEPT = {"Accept": "application/json, text/event-stream"}


class Endpoint:
    """Sends bytes and reads what comes back, without a client that would refuse to send them."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self.session = self.open_session()

    def send(
        self, method: str, target: str, headers: list[tuple[str, str]], body: bytes
    ) -> tuple[int, str, bytes]:
        """Return status, head and body; of an event stream only what comes first."""
        headers = [*headers, ("Content-Length", str(len(body))), ("Connection", "close")]
        lines = [f"{name}: {value}" for name, value in headers]
        head = "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""])
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(self._path)
            connection.sendall(head.encode("latin-1") + body)
            answer = b""
            while part := connection.recv(65536):
                answer += part
                if b"text/event-stream" in answer.partition(b"\r\n\r\n")[0].lower():
                    break
        answered, content = answer.split(b"\r\n\r\n", 1)
        return int(answered.split(b" ", 2)[1]), answered.decode(), content

    def open_session(self) -> str:
        body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
        headers = [*(BASE | ACCEPT).items()]
        _, head, _ = self.send("POST", "/mcp", headers, json.dumps(body).encode())
        return head.partition("mcp-session-id: ")[2].split("\r\n")[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("malformed")
    (folder / "tree").mkdir()
    (folder / "tree" / "a.py").write_text("needle\n")
    build_index(folder / "tree", "main", folder / "indexes")
    running = Server(folder / "s", folder / "log", {"CODEINTEL_INDEX_DIR": str(folder / "indexes")})
    with running.client() as client:
        assert client.get("/api/readyz").status_code == 200
    yield running
    running.process.kill()
    running.process.wait()


@pytest.fixture(scope="module")
def endpoint(server: Server) -> Endpoint:
    return Endpoint(server.socket_path)


# What JSON can say and Python's parsers, or UTF-8, may not bear.
LITERALS = st.sampled_from(
    ["1" * 5000, "-1e999", "NaN", '"\\ud800"', '"\\u0000"', "1e400", "[" * 3000 + "]" * 3000, "-0"]
)


class Raw:
    """A value that is written as it stands."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"Raw({self.text[:20]!r})"


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | LITERALS.map(Raw),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)


def write(value: object) -> str:
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{write(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(write, value)) + "]"
    return json.dumps(value)


@st.composite
def messages(draw: st.DrawFn, *, stateless: bool) -> tuple[str, bytes]:
    """Return a method and the body of a request for it, of which something may be wrong."""
    method = draw(st.sampled_from(sorted(PARAMS)))
    params = json.loads(json.dumps(PARAMS[method])) | ({"_meta": dict(META)} if stateless else {})
    message: Any = {"jsonrpc": "2.0", "id": draw(st.integers(1, 9)), "method": method}
    message["params"] = params
    for _ in range(draw(st.integers(0, 2))):
        place = message
        while True:
            key = draw(st.sampled_from([*sorted(place), "extra"]))
            if isinstance(place.get(key), dict) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            break
        if draw(st.booleans()):
            place[key] = draw(VALUES)
        else:
            place.pop(key, None)
        if not message:
            break
    body = write(draw(st.sampled_from([message] * 8 + [[message], [], None, "x"]))).encode()
    if draw(st.integers(0, 9)) == 0:
        cut = draw(st.integers(0, len(body)))
        body = body[:cut] + draw(st.binary(max_size=4)) + body[cut + draw(st.integers(0, 4)) :]
    return method, body


TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=["Cc"]))


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, bool, list[tuple[str, str]], bytes]:
    """Return verb, target, whether it wants a session, headers and body."""
    stateless = draw(st.booleans())
    method, body = draw(messages(stateless=stateless))
    headers = [*(BASE | ACCEPT).items()]
    if stateless:
        headers += [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", method)]
        if name := PARAMS[method].get("name", PARAMS[method].get("uri")):
            headers.append(("Mcp-Name", name))
    elif draw(st.booleans()):
        headers.append(("MCP-Protocol-Version", "2025-11-25"))
    for _ in range(draw(st.integers(0, 2))):
        kind = draw(st.sampled_from(["drop", "add", "double"]))
        if kind == "add":
            headers.append((draw(st.sampled_from(HEADERS)), draw(TEXT).strip()))
        elif len(headers) > 1:
            chosen = draw(st.integers(1, len(headers) - 1))
            headers[chosen : chosen + 1] = [headers[chosen]] * (2 if kind == "double" else 0)
    verb = draw(st.sampled_from(["POST"] * 8 + ["GET", "GET", "DELETE", "PUT", "HEAD", "OPTIONS"]))
    target = draw(st.sampled_from(["/mcp"] * 6 + ["/mcp/", "/mcp?x=%ff", "/mcp/x"]))
    return verb, target, not stateless, headers, body


@given(request=requests())
@settings(max_examples=150, deadline=None)
def test_no_request_is_a_fault_of_the_server(
    endpoint: Endpoint, request: tuple[str, str, bool, list[tuple[str, str]], bytes]
) -> None:
    verb, target, session, headers, body = request
    if session:
        headers = [*headers, ("Mcp-Session-Id", endpoint.session)]
    status, _, answer = endpoint.send(verb, target, headers, body)
    if verb == "DELETE" and status == 200:
        endpoint.session = endpoint.open_session()
    assert 200 <= status < 500
    assert b'"code":-32603' not in answer  # an internal error, as JSON-RPC has it


# What cannot be the id of a request, written out; and the key, which JSON can write in four ways.
NO_ID = (
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.lists(st.integers() | st.text(max_size=5), max_size=3)
    | st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3)
).map(json.dumps) | st.sampled_from(["NaN", "1e400", "-1E2", "[" * 50 + "]" * 50])
KEYS = st.sampled_from(["id", "\\u0069d", "i\\u0064", "\\u0069\\u0064"])
SPACE = st.text(" \t\r\n", max_size=3)


@given(
    method=st.sampled_from(sorted(PARAMS)), key=KEYS, value=NO_ID, space=SPACE, last=st.booleans()
)
@settings(max_examples=150, deadline=None)
def test_a_request_whose_id_is_none_is_refused(  # noqa: PLR0913 (what hypothesis varies)
    endpoint: Endpoint, method: str, key: str, value: str, space: str, *, last: bool
) -> None:
    """And is no notification, which is taken without a word."""
    rest = f'"jsonrpc":"2.0","method":"{method}","params":{json.dumps(PARAMS[method])}'
    identifier = f'"{key}"{space}:{space}{value}{space}'
    body = f"{{{rest},{identifier}}}" if last else f"{{{identifier},{rest}}}"
    headers = [*(BASE | ACCEPT).items(), ("Mcp-Session-Id", endpoint.session)]
    status, _, answer = endpoint.send("POST", "/mcp", headers, body.encode())
    assert status == 400
    said = json.loads(answer)
    assert (said["jsonrpc"], said["id"], said["error"]["code"]) == ("2.0", None, -32600)


@pytest.mark.parametrize("identifier", ["0", "-7", '"x"', '{},"id":1'])
def test_other_ids_are_answered(endpoint: Endpoint, identifier: str) -> None:
    """Whatever stands in the arguments."""
    arguments = {"pattern": "needle", "id": {"id": None}}
    params = json.dumps({"name": "grep", "arguments": arguments})
    body = f'{{"jsonrpc":"2.0","id":{identifier},"method":"tools/call","params":{params}}}'
    headers = [*(BASE | ACCEPT).items(), ("Mcp-Session-Id", endpoint.session)]
    assert endpoint.send("POST", "/mcp", headers, body.encode())[0] == 200


def test_a_notification_is_taken(endpoint: Endpoint) -> None:
    cancelled = {"method": "notifications/cancelled", "params": {"requestId": 1, "id": None}}
    headers = [*(BASE | ACCEPT).items(), ("Mcp-Session-Id", endpoint.session)]
    body = json.dumps({"jsonrpc": "2.0", **cancelled}).encode()
    assert endpoint.send("POST", "/mcp", headers, body)[0] == 202


def test_nothing_of_it_left_a_traceback(server: Server) -> None:
    assert "Traceback" not in server.log.read_text()
    with server.client() as client:
        assert client.get("/api/readyz").status_code == 200
