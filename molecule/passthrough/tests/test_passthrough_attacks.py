"""Who misbehaves harms nobody else, while clients whose streams are silent keep them open."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from lab import NET, Companion, Curl, python_on
from testinfra.host import Host

Undisturbed = Callable[[], AbstractContextManager[None]]
SILENCE = float(os.environ.get("PASSTHROUGH_SILENCE", "100"))
MUTATIONS = 20_000
IDLE = 60  # seconds after which QUIC forgets a connection


@pytest.fixture(scope="module")
def silent(client: Host) -> tuple[Companion, float]:
    """Event streams over each protocol on which only heartbeats come, and when they began."""
    return Companion(client, "probe.streams", "1", "/events?interval=3600"), time.monotonic()


EARLY = """
import asyncio, json
from probe import h3

async def main():
    statuses = []
    async with h3.connect() as connection:
        for _ in range(5):
            answer = connection.open("POST", "/early", more=True)
            for _ in range(60):
                connection.send(answer, bytes(1000))
            connection.send(answer, b"", end=True)
            await answer.until(lambda: answer.finished)
            statuses.append(answer.status)
        statuses.append((await connection.ask("POST", "/early", body=bytes(60_000))).status)
    return statuses
print(json.dumps(asyncio.run(main())))
"""


@pytest.mark.usefixtures("silent")
def test_a_body_that_comes_after_the_answer(client: Host, undisturbed: Undisturbed) -> None:
    """Ends Hypercorn's own QUIC listener: https://github.com/pgjones/hypercorn/issues/329."""
    with undisturbed():
        assert python_on(client, EARLY) == [404] * 6


UNREAD = """
import asyncio, json
from probe import h3

async def main():
    async with h3.connect() as connection:
        answer = connection.open("POST", "/unread?seconds=4", more=True)
        connection.send(answer, bytes(1_000_000), end=True)
        await answer.until(lambda: answer.status == 200)
        other = await connection.ask("GET", "/", seconds=3)
        await asyncio.sleep(3)
        return [other.status, answer.ending]
print(json.dumps(asyncio.run(main())))
"""


@pytest.mark.usefixtures("silent")
def test_an_upload_that_nobody_reads(client: Host, curl: Curl, undisturbed: Undisturbed) -> None:
    """Stalls all of Hypercorn's own HTTP/3: https://github.com/pgjones/hypercorn/issues/352."""
    with undisturbed():
        assert python_on(client, UNREAD) == [200, "open"]
        assert settles(curl, "unread", 0, 10)


VANISH = """
import asyncio, contextlib, json
from probe import h3

async def main():
    connections = []
    stack = contextlib.AsyncExitStack()
    for _ in range(50):
        connection = await stack.enter_async_context(h3.connect())
        events = connection.open("GET", "/events?interval=0.5")
        await events.until(lambda: len(events.pieces) > 0)
        connections.append(connection)
    live = json.loads((await connections[0].ask("GET", "/live")).body)["events"]
    for connection in connections[::2]:
        connection.vanish()
    await stack.aclose()
    return live
print(json.dumps(asyncio.run(main())))
"""


@pytest.mark.usefixtures("silent")
def test_clients_that_vanish_in_mid_stream(
    client: Host, curl: Curl, undisturbed: Undisturbed
) -> None:
    """Half of them say goodbye. The app learns of each, so that nothing runs on for nobody."""
    before = curl("https://echo.test/live").json["events"]
    with undisturbed():
        assert python_on(client, VANISH) == before + 50
        assert settles(curl, "events", before + 25, 10), "those that said goodbye"
        assert settles(curl, "events", before, IDLE + 10)


def settles(curl: Curl, name: str, wanted: int, seconds: float) -> bool:
    """Wait until no more than so many handlers are alive."""
    end = time.monotonic() + seconds
    while curl("https://echo.test/live").json[name] > wanted:
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


BATTERY = """
import asyncio, json, sys
from probe.battery import battery
seed, count, *addresses = sys.argv[1:]
report = asyncio.run(battery(int(seed), int(count), addresses=addresses))
print(json.dumps(vars(report)))
"""


@pytest.mark.usefixtures("silent")
def test_odd_requests(
    client: Host, curl: Curl, aliases: list[str], undisturbed: Undisturbed
) -> None:
    """Each is answered, refused, or ends its own connection, and leaves nothing behind.

    PASSTHROUGH_SEED repeats a run.
    """
    before = curl("https://echo.test/live").json
    seed = int(os.environ.get("PASSTHROUGH_SEED", random.randrange(1 << 32)))
    print("seed", seed)
    with undisturbed():
        report = python_on(client, BATTERY, str(seed), str(MUTATIONS), *aliases)
    print(report)
    assert report["played"] == MUTATIONS
    assert report["failures"] == []
    assert report["silent"] == []
    for name in ("events", "unread", "websocket"):
        assert settles(curl, name, before[name], IDLE + 10), name


FLOOD = """
import asyncio, json, os, socket, sys
from probe import h3

def junk(port, count):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((sys.argv[1], port))
        for _ in range(count):
            sender.sendto(os.urandom(1200), (sys.argv[2], 443))

async def main():
    junk(20000, 5000)
    for port in range(20001, 21601):
        junk(port, 1)
    statuses = []
    for _ in range(5):
        async with h3.connect(address=sys.argv[2]) as connection:
            statuses.append((await connection.ask("GET", "/")).status)
    return statuses
print(json.dumps(asyncio.run(main())))
"""


@pytest.mark.usefixtures("silent")
def test_a_flood_of_junk(
    client: Host, target: Host, aliases: list[str], undisturbed: Undisturbed
) -> None:
    """5000 datagrams of one flow, and 1600 flows, come from one other address."""
    before = dropped(target)
    with undisturbed():
        assert python_on(client, FLOOD, aliases[0], f"10.203.{NET}.10") == [200] * 5
    assert dropped(target) - before > 1000, "flows over the rate do not reach nginx"


def dropped(target: Host) -> int:
    """Return how many datagrams the limits have dropped."""
    rules = target.run("nft list chain inet mcp_edge_limits udp_begins").stdout
    return sum(int(packets) for packets in re.findall(r"counter packets (\d+)", rules))


def test_silent_streams_stay_open(silent: tuple[Companion, float]) -> None:
    """For longer than every timeout, of 60 and 75 s, by heartbeats: over each protocol at once.

    What is promised is 300 s; PASSTHROUGH_SILENCE=300 waits that long.
    """
    companion, begin = silent
    companion.wait(max(0, SILENCE - (time.monotonic() - begin)))
    records = companion.result()
    assert [record["protocol"] for record in records] == ["h1", "h2", "h3"]
    for record in records:
        assert record["ending"] == "open", record
        assert record["longest"] < 20, record
        assert record["pieces"] >= SILENCE // 15, record
