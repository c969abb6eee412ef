"""What every client gets: each protocol, both address families, one certificate, no buffering."""

from __future__ import annotations

import itertools

import pytest
from lab import BOTH_FAMILIES, HEADERS, PROTOCOLS, Curl, python_on
from testinfra.host import Host


@pytest.mark.parametrize("address", BOTH_FAMILIES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("domain", ["mcp.test", "echo.test"])
def test_answers(curl: Curl, domain: str, protocol: str, address: str) -> None:
    answer = curl(f"https://{domain}/", "--resolve", f"{domain}:443:{address}", protocol=protocol)
    assert answer.status == 200
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert len(answer.headers["x-request-id"]) == 32


def test_forty_http3_connections_in_a_row(client: Host) -> None:
    """With two workers and no reuseport, every fourth would fail."""
    result = client.run(
        "for i in $(seq 40); do curl -sS --http3-only --max-time 5 -o /dev/null "
        "-w '%{http_code}\\n' https://mcp.test/api/livez; done"
    )
    assert result.stdout.split() == ["200"] * 40, result.stderr


def test_http3_survives_a_change_of_address(client: Host) -> None:
    """eBPF steers a connection whose client port changes to the worker that knows it."""
    program = """
import asyncio, json, ssl, sys
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived
from aioquic.quic.configuration import QuicConfiguration

class Client(QuicConnectionProtocol):
    def quic_event_received(self, event):
        for item in self.http.handle_event(event):
            if isinstance(item, DataReceived):
                self.received.append(item.data)
                self.news.set()

async def once():
    settings = QuicConfiguration(alpn_protocols=["h3"], server_name="echo.test",
                                 cafile="/etc/ssl/certs/ca-certificates.crt")
    async with connect("echo.test", 443, configuration=settings, create_protocol=Client) as client:
        client.received, client.news = [], asyncio.Event()
        client.http = H3Connection(client._quic)
        stream = client._quic.get_next_available_stream_id()
        client.http.send_headers(stream, [(b":method", b"GET"), (b":scheme", b"https"),
            (b":authority", b"echo.test"), (b":path", b"/endless"), (b"user-agent", b"test")],
            end_stream=True)
        client.transmit()
        await asyncio.wait_for(client.news.wait(), 5)
        loop = asyncio.get_running_loop()
        old = client._transport
        await loop.create_datagram_endpoint(lambda: client, local_addr=("::", 0))
        old.close()
        client._quic.send_ping(1)
        client.transmit()
        before = len(client.received)
        for _ in range(10):
            client.news.clear()
            await asyncio.wait_for(client.news.wait(), 5)
        return len(client.received) - before >= 10

async def main():
    return [await once() for _ in range(6)]
print(json.dumps(asyncio.run(main())))
"""
    assert python_on(client, program) == [True] * 6


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_stream_is_not_buffered(client: Host, protocol: str) -> None:
    """Lines that leave the app every 0.1 s arrive one by one."""
    program = """
import json, subprocess, sys, time
curl = subprocess.Popen(["curl", "-sSN", sys.argv[1], "--max-time", "10", "https://echo.test/endless"],
                        stdout=subprocess.PIPE)
begin = time.monotonic()
times = []
for _ in range(20):
    curl.stdout.readline()
    times.append(time.monotonic() - begin)
curl.kill()
print(json.dumps(times))
"""
    times = python_on(client, program, PROTOCOLS[protocol])
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert times[0] < 1
    assert sorted(gaps)[len(gaps) // 2] == pytest.approx(0.1, abs=0.03)
    assert max(gaps) < 0.4


def test_websocket_echo(client: Host) -> None:
    program = """
import asyncio, json, ssl, websockets
async def main():
    async with websockets.connect("wss://echo.test/chat") as socket:
        await socket.send("hello")
        await socket.send(b"\\x00\\xff")
        return [await socket.recv(), (await socket.recv()).hex()]
print(json.dumps(asyncio.run(main())))
"""
    result = client.run("/usr/bin/python3 -c %s", program)
    assert result.stdout.strip() == '["hello", "00ff"]', result.stderr


def test_certificate_is_the_acme_servers(client: Host, target: Host) -> None:
    shown = client.run(
        "openssl s_client -connect mcp.test:443 -servername mcp.test </dev/null 2>/dev/null"
        " | openssl x509 -noout -issuer -ext subjectAltName"
    ).stdout
    assert "Pebble" in shown
    assert "DNS:mcp.test" in shown
    key = target.file("/etc/nginx/certificates/codeintel/current/privkey.pem")
    assert (key.user, key.group, key.mode) == ("root", "www-data", 0o640)


def test_old_tls_and_weak_ciphers_are_refused(client: Host) -> None:
    hello = "openssl s_client -connect mcp.test:443 -servername mcp.test </dev/null"
    assert client.run(f"{hello} -tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256").rc == 0
    assert client.run(f"{hello} -tls1_2 -cipher ECDHE-ECDSA-AES128-SHA256:CAMELLIA").rc != 0
    assert client.run(f"{hello} -tls1_1 -cipher ALL:@SECLEVEL=0").rc != 0


def test_port_80_redirects(curl: Curl) -> None:
    answer = curl("http://mcp.test/some/path?q=1", protocol="h1")
    assert (answer.status, answer.headers["location"]) == (301, "https://mcp.test/some/path?q=1")
