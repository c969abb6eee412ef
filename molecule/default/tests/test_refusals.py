"""What the edge refuses: strangers, forged headers, tunnels, slow clients; and how it says so."""

from __future__ import annotations

import json

import pytest
from lab import ADDRESSES, BOTH_FAMILIES, CLIENT6, HEADERS, PROTOCOLS, Answer, Curl, python_on
from testinfra.host import Host

UNKNOWN = ("--resolve", f"unknown.test:80:{ADDRESSES['target']}")
FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.test",
    "X-Forwarded-Port": "81",
    "X-Forwarded-Prefix": "/evil",
    "X-Real-IP": "203.0.113.9",
    "X-Request-ID": "forged",
    "Forwarded": "for=203.0.113.9;proto=http;host=evil.test",
}


@pytest.mark.parametrize(
    ("family", "address", "node"),
    [("-4", ADDRESSES["client"], ADDRESSES["client"]), ("-6", CLIENT6, f'"[{CLIENT6}]"')],
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_forged_headers_are_not_believed(
    curl: Curl, protocol: str, family: str, address: str, node: str
) -> None:
    options = [option for item in FORGED.items() for option in ("-H", ": ".join(item))]
    options += ["-H", "X-Forwarded-For: 198.51.100.1"]
    answer = curl("https://echo.test/", family, *options, protocol=protocol)
    seen: dict[str, list[str]] = {}
    for name, value in answer.json["headers"]:
        seen.setdefault(name, []).append(value)
    assert seen["x-forwarded-for"] == [address]
    assert seen["x-real-ip"] == [address]
    assert seen["x-forwarded-proto"] == ["https"]
    assert seen["x-forwarded-host"] == seen["host"] == ["echo.test"]
    assert seen["forwarded"] == [f'for={node};proto=https;host="echo.test"']
    assert seen["x-request-id"] == [answer.headers["x-request-id"]] != ["forged"]
    assert not {"x-forwarded-port", "x-forwarded-prefix"} & seen.keys()


def test_an_upgrade_to_h2c_opens_no_tunnel(curl: Curl) -> None:
    answer = curl(
        "https://echo.test/",
        *("-H", "Connection: Upgrade, HTTP2-Settings", "-H", "Upgrade: h2c"),
        *("-H", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
        protocol="h1",
    )
    assert answer.status == 200
    assert "upgrade" not in {name for name, _ in answer.json["headers"]}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_host_that_differs_from_the_sni_is_misdirected(curl: Curl, protocol: str) -> None:
    for host in ("echo.test", "unknown.test"):
        answer = curl("https://mcp.test/", "-H", f"Host: {host}", protocol=protocol)
        assert answer.status == 421
        assert answer.json == {"error": "misdirected request", "status": 421}


@pytest.mark.parametrize("address", BOTH_FAMILIES)
def test_unknown_hosts_are_refused(curl: Curl, client: Host, address: str) -> None:
    there = ("--resolve", f"unknown.test:80:{address}")
    assert curl("http://unknown.test/", *there, protocol="h1").status == 421
    assert curl(f"http://{address}/", protocol="h1").status == 421
    for option in PROTOCOLS.values():
        result = client.run(
            f"curl -sS --insecure {option} --max-time 5 --resolve unknown.test:443:{address}"
            " https://unknown.test/"
        )
        assert result.rc != 0
        assert result.stdout == ""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_app_that_is_down_gives_a_json_502(curl: Curl, target: Host, protocol: str) -> None:
    assert target.run("systemctl stop echo.socket echo.service").rc == 0
    try:
        answer = curl("https://echo.test/", protocol=protocol)
        assert curl("https://mcp.test/api/livez").status == 200
    finally:
        assert target.run("systemctl start echo.socket echo.service").rc == 0
    assert answer.status == 502
    assert answer.json == {"error": "the app does not answer", "status": 502}
    assert answer.headers["content-type"] == "application/json"
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_metrics_are_not_public(curl: Curl, protocol: str) -> None:
    for path in ("/api/metrics", "/api//metrics", "/api/./metrics", "/api/%6detrics"):
        answer = curl(f"https://mcp.test{path}", "--path-as-is", protocol=protocol)
        assert answer.status == 404
        assert answer.json == {"error": "not found", "status": 404}, (
            "nginx refuses, not only the app"
        )


ANNOUNCE = """
import asyncio, json
from probe import h3

async def main():
    async with h3.connect() as connection:
        answer = connection.open("POST", "/", headers=[("content-length", "5000000")], more=True)
        connection.send(answer, b"x")
        await answer.until(lambda: answer.finished)
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    return [answer.status, headers, answer.body.decode()]
print(json.dumps(asyncio.run(main())))
"""


def announce(curl: Curl, protocol: str) -> Answer:
    """Announce a body that is too large, and send one byte of it.

    The server answers and stops reading. Over QUIC, curl's OpenSSL then throws away the answer
    now and then, although it is complete (RFC 9114, section 4.1): "(95) SSL error 1".
    """
    if protocol == "h3":
        return Answer(*python_on(curl.client, ANNOUNCE))
    body = ("--data", "x", "-H", "Content-Length: 5000000")
    return curl("https://echo.test/", *body, protocol=protocol)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_body_over_the_limit_is_refused(curl: Curl, protocol: str) -> None:
    answer = announce(curl, protocol)
    assert answer.status == 413
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS


def test_every_refused_request_leaves_a_line(curl: Curl, target: Host) -> None:
    """Early or late refused, by whichever server: its identifier and status are in a log."""
    expected = {}
    refusals: list[tuple[str, ...]] = [
        ("h1", "421", "http://unknown.test/", *UNKNOWN),
        ("h1", "421", f"http://{ADDRESSES['target']}/"),
        ("h1", "400", "http://echo.test:443/"),
    ]
    for protocol in PROTOCOLS:
        refusals += [
            (protocol, "400", "https://echo.test/", "-H", "Host: a b"),
            (protocol, "404", "https://mcp.test/api/metrics"),
            (protocol, "421", "https://mcp.test/", "-H", "Host: unknown.test"),
            (protocol, "421", "https://mcp.test/", "-H", "Host: echo.test"),
        ]
    answers = [(status, curl(url, *options, protocol=p)) for p, status, url, *options in refusals]
    answers += [("413", announce(curl, protocol)) for protocol in PROTOCOLS]
    for status, answer in answers:
        assert answer.status == answer.json["status"] == int(status)
        expected[answer.headers["x-request-id"]] = status

    log = target.run(
        "cat /var/log/nginx/mcp-edge.log /var/log/nginx/echo.log /var/log/nginx/codeintel.log"
    ).stdout
    entries = [json.loads(line) for line in log.splitlines()]
    assert all(list(entry)[:2] == ["time", "status"] for entry in entries)
    statuses = {entry["request_id"]: entry["status"] for entry in entries}
    assert {identifier: statuses.get(identifier) for identifier in expected} == expected


def test_a_client_cannot_forge_a_line(curl: Curl, target: Host) -> None:
    curl("https://echo.test/", "-A", 'x","status":"200","address":"192.0.2.66', protocol="h1")
    last = target.run("tail -n 1 /var/log/nginx/echo.log").stdout
    entry = json.loads(last)
    assert entry["address"].endswith("30")
    assert entry["user_agent"].startswith('x","status"')


SLOW = """
import json, socket, ssl, sys, time
kind = sys.argv[1]
raw = socket.create_connection(("echo.test", 443))
begin = time.monotonic()
if kind != "handshake":
    conn = ssl.create_default_context().wrap_socket(raw, server_hostname="echo.test")
    conn.sendall({
        "headers": b"GET / HTTP/1.1\\r\\nHost: echo.test\\r\\nX-Slow: ",
        "body": b"POST / HTTP/1.1\\r\\nHost: echo.test\\r\\nContent-Length: 9\\r\\n\\r\\nx",
    }[kind])
else:
    conn = raw
conn.settimeout(20)
try:
    while conn.recv(4096):
        pass
except ConnectionResetError:
    pass
print(json.dumps(time.monotonic() - begin))
"""


@pytest.mark.parametrize("kind", ["handshake", "headers", "body"])
def test_a_slow_client_is_gone_within_15_seconds(client: Host, kind: str) -> None:
    seconds = python_on(client, SLOW, kind)
    assert 5 < seconds < 15
