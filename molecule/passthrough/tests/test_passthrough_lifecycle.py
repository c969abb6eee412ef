"""What happens to open streams and calls when something changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from lab import ADDRESSES, CLIENT6, Companion, Curl, python_on, reboot, until
from testinfra.host import Host

Undisturbed = Callable[[], AbstractContextManager[None]]

SERIALS = """
import asyncio, json, socket, ssl
from cryptography import x509
from probe import h3

async def main():
    trust = ssl.create_default_context(cafile=h3.LAB_ROOT)
    with trust.wrap_socket(socket.create_connection(("echo.test", 443), 5),
                           server_hostname="echo.test") as tcp:
        shown = x509.load_der_x509_certificate(tcp.getpeercert(True))
    async with h3.connect() as connection:
        return [hex(shown.serial_number), hex(connection.certificate.serial_number)]
print(json.dumps(asyncio.run(main())))
"""


def test_a_renewed_certificate_is_served_and_streams_go_on(
    client: Host, target: Host, undisturbed: Undisturbed
) -> None:
    before = python_on(client, SERIALS)
    assert before[0] == before[1]
    streams = Companion(client, "probe.streams", "2", "/events?interval=0.2")
    with undisturbed():
        began = time.time()
        result = target.run(
            "certbot renew --cert-name echo --force-renewal --no-random-sleep-on-renew"
        )
        assert result.rc == 0, result.stderr
        after = python_on(client, SERIALS)
        assert after[0] == after[1] != before[0]
        ended = time.time()
    for record in streams.result():
        assert record["ending"] == "open", record
        assert record["longest"] < 2, record
        assert record["last"] > ended > began


def test_a_stop_ends_streams_cleanly_and_calls_completely(
    client: Host, target: Host, curl: Curl
) -> None:
    """51 event streams are open, and over each protocol a call of 3 s has begun."""
    streams = Companion(client, "probe.streams", "17", "/events?interval=0.2")
    calls = Companion(client, "probe.streams", "1", "/slow?seconds=3")
    try:
        took = target.run("date +%s.%N; systemctl stop echo.service; date +%s.%N").stdout.split()
        begin, end = map(float, took)
        streams.wait(5)
        calls.wait(5)
    finally:
        target.run("systemctl start echo.service")
    assert end - begin < 5
    for record in calls.result():
        assert (record["ending"], record["tail"]) == ("clean", "started\ndone\n"), record
    for record in streams.result():
        assert record["ending"] == "clean", record
        assert record["last"] < end + 2, record
    assert curl("https://echo.test/").status == 200


def test_a_reboot_brings_routes_limits_and_app_back(client: Host, target: Host, curl: Curl) -> None:
    """The host is restarted; nothing but what it starts by itself is started."""
    reboot("target")
    asked = "curl -sS --max-time 2 -o /dev/null https://echo.test/"
    assert until(client, f"{asked} --http2 && {asked} --http3-only", 40)
    for family, address in (("-4", ADDRESSES["client"]), ("-6", CLIENT6)):
        for protocol in ("h2", "h3"):
            assert (
                curl("https://echo.test/", family, protocol=protocol).json["client"][0] == address
            )
    ruleset = target.run("nft list table inet mcp_edge_limits").stdout
    assert "limit rate over 20/second burst 100 packets" in ruleset
