"""What one client may ask, and what becomes of who asks for more; on a real server and alone."""

import asyncio
import json
import tracemalloc
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import h2.events
import pytest
from aioquic.h3.connection import ErrorCode
from h2.errors import ErrorCodes
from hypercorn_edge.limits import Limits, Rate

from .edge_client import TerminatedError, h3
from .edge_server import Server, serving
from .test_edge_drain import tcp_client
from .test_edge_h2 import H2Client

EVENTS = {"accept": "text/event-stream"}
LIMITS = {"request_rate": 1, "request_burst": 9, "request_concurrency": 3, "access_log": "test"}


def test_a_burst_passes_and_then_the_rate() -> None:
    now = 100.0
    rate = Rate(2, 3, lambda: now)
    assert [rate.allow("a") for _ in range(6)] == [True] * 4 + [False] * 2
    assert rate.allow("b"), "others have a burst of their own"
    now += 0.5
    assert [rate.allow("a") for _ in range(2)] == [True, False]
    now += 60
    assert [rate.allow("a") for _ in range(6)] == [True] * 4 + [False] * 2


def test_what_is_refused_for_good_counts_too_but_not_for_ever() -> None:
    now = 100.0
    rate = Rate(10, 10, lambda: now)
    rate.charge("a", 100)
    now += 8.9
    assert rate.over("a")
    now += 0.2
    assert not rate.over("a")
    rate.charge("a", 1_000_000)
    now += 61
    assert not rate.over("a")


def test_100000_clients_take_no_more_memory_than_65536() -> None:
    rate = Rate(20, 100)
    tracemalloc.start()
    try:
        for number in range(100_000):
            rate.allow(f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::/64")
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 20 << 20


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", None),
        ("192.0.2.8", "192.0.2.8"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:ffff::4%eth0", None),
    ],
)
def test_an_address_counts_as_its_network_unless_it_is_let_off(
    address: str, client: str | None
) -> None:
    limits = Limits(20, 100, 100, ["192.0.2.7", "2001:db8:ffff::/48"])
    assert limits.client(address) == client


def logged(server: Server) -> list[dict[str, str]]:
    """Stop the server, and return the lines of its access log: the last may follow its answer."""
    server.stop()
    return [json.loads(line) for line in server.output().splitlines() if line[:1] == "{"]


async def asked(server: Server, protocol: str, count: int) -> list[Any]:
    """Ask that often and return the status, headers and body of each answer."""
    if protocol == "h3":
        async with h3(server.host, server.port) as client:
            answers = [await client.fetch("/scope") for _ in range(count)]
        return [(int(head[":status"]), head, body) for head, body in answers]
    async with tcp_client(server, http2=protocol == "h2") as client:
        responses = [await client.get("/scope") for _ in range(count)]
    return [(r.status_code, r.headers, r.content) for r in responses]


@pytest.mark.parametrize("protocol", ["h1", "h2", "h3"])
def test_who_asks_too_often_is_told_when_to_come_again(tmp_path: Path, protocol: str) -> None:
    with serving(tmp_path, edge=LIMITS) as server:
        answers = asyncio.run(asked(server, protocol, 14))
        statuses = Counter(status for status, _, _ in answers)
        assert statuses[200] in {10, 11}
        assert statuses[200] + statuses[429] == 14
        status, headers, body = answers[-1]
        assert (status, headers["retry-after"]) == (429, "1")
        assert json.loads(body) == {"error": "too many requests", "status": 429}
        lines = logged(server)
    noted = Counter((line["status"], line["request_limit"]) for line in lines)
    assert noted == {("200", "PASSED"): statuses[200], ("429", "REJECTED"): statuses[429]}


def test_in_a_dry_run_all_is_answered_and_noted(tmp_path: Path) -> None:
    with serving(tmp_path, edge=LIMITS | {"limits_dry_run": True}) as server:
        answers = asyncio.run(asked(server, "h2", 40))
        assert {status for status, _, _ in answers} == {200}
        assert [x["request_limit"] for x in logged(server)].count("REJECTED_DRY_RUN") >= 28


def test_event_streams_are_counted_apart_and_how_many_there_are(tmp_path: Path) -> None:
    async def scenario(server: Server) -> None:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(tcp_client(server, http2=True))
            for _ in range(12):
                last = await client.get("/scope")
            assert last.status_code == 429
            for _ in range(3):
                stream = client.stream("GET", "/events", headers=EVENTS)
                assert (await stack.enter_async_context(stream)).status_code == 200
            fourth = await client.get("/events", headers=EVENTS)
            assert fourth.status_code == 429

    with serving(tmp_path, edge=LIMITS) as server:
        asyncio.run(scenario(server))
        assert "REJECTED" in [line["concurrency_limit"] for line in logged(server)]


def test_http2_requests_that_are_cancelled_at_once_end_the_connection(tmp_path: Path) -> None:
    async def scenario(server: Server) -> int:
        async with asyncio.timeout(10):
            client = await H2Client.connect(server)
            for _ in range(50):
                client.h2.reset_stream(client.begin("/scope"))
            client.flush()
            event = await client.until(h2.events.ConnectionTerminated)
            assert event.error_code == ErrorCodes.ENHANCE_YOUR_CALM
            with pytest.raises(EOFError):
                await client.until(h2.events.ResponseReceived)
            again = await H2Client.connect(server)
            again.begin("/scope")
            event = await again.until(h2.events.ConnectionTerminated)
            return int(event.error_code)

    with serving(tmp_path, edge=LIMITS) as server:
        assert asyncio.run(scenario(server)) == ErrorCodes.ENHANCE_YOUR_CALM
        lines = logged(server)
    flood = ("429", "127.0.0.1", "")
    told = [(x["status"], x["net"], x["method"]) for x in lines].count(flood)
    assert told == 2, "each connection that was ended is an offence"


def test_three_times_as_many_http3_requests_end_the_connection(tmp_path: Path) -> None:
    async def scenario(server: Server) -> None:
        async with asyncio.timeout(10), h3(server.host, server.port) as client:
            with pytest.raises(TerminatedError, match=str(int(ErrorCode.H3_EXCESSIVE_LOAD))):
                for _ in range(50):
                    await client.fetch("/scope")

    with serving(tmp_path, edge=LIMITS) as server:
        asyncio.run(scenario(server))
