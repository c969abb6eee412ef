"""Who is slow, greedy or loud costs a normal client little, without anybody being banned."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator

import pytest
from lab import NET, Companion
from misuse import Edge
from testinfra.host import Host

SECONDS = 7  # for which normal clients ask meanwhile
TIMES = 5  # what is quick in quiet may take that much longer
TRIES = 3
NORMAL = [f"10.203.{NET}.{last}" for last in (31, 32, 33)]
INTERVAL = 0.16  # seconds; one client over three protocols is just below the limit of requests
SSE = "/api/sse?interval=0.01&count=10000"
# Each with what there is of it at least: connections, requests or datagrams.
ATTACKS = {
    "tls": (128, ("probe.slow", "tls", "200")),
    "h2-headers": (100, ("probe.slow", "h2-headers", "120")),
    "h2-window": (
        100,
        ("probe.slow", "h2-window", "120", "--path", "/api/sse?interval=1&count=60"),
    ),
    "quic": (100, ("probe.slow", "quic", "120")),
    "quic-idle": (100, ("probe.slow", "quic-idle", "120")),
    "reset-h2": (2000, ("probe.rapid_reset", "h2")),
    "reset-h3": (2000, ("probe.rapid_reset", "h3")),
    "greedy-h1": (20, ("probe.greedy", "h1", SSE)),
    "greedy-h2": (20, ("probe.greedy", "h2", SSE)),
    "greedy-h3": (20, ("probe.greedy", "h3", SSE)),
    "junk": (5000, ("probe.junk", "--datagrams", "5000")),
}

Delays = dict[str, float]  # in seconds, by what was measured
Attack = contextlib.AbstractContextManager[None]


@pytest.fixture(scope="module", autouse=True)
def no_bans(target: Host, twin: Host, client: Host) -> Iterator[None]:
    """Nobody is banned here: a ban would end each attack within a second."""
    for host in (target, twin):
        assert host.run("systemctl stop fail2ban").rc == 0
    for address in NORMAL:
        assert client.run(f"ip address replace {address}/24 dev eth0").rc == 0
    yield
    for host in (target, twin):
        assert host.run("systemctl start fail2ban").rc == 0


def delays(client: Host, edge: Edge) -> Delays:
    """Be some normal clients for a while, over each protocol.

    Return what 99 % of the answers on open connections took at most, and the longest that it took
    to connect and be answered.
    """
    arguments = ("--name", edge.name, "--path", "/api/livez", "--interval", str(INTERVAL))
    normal = [
        Companion(client, "probe.bystander", *arguments, "--source", address) for address in NORMAL
    ]
    normal[-1].wait(SECONDS)
    records = [record for bystander in normal for record in bystander.result().values()]
    assert [failure for record in records for failure in record["failures"]] == []
    answering = sorted(seconds for record in records for seconds in record["answering"])
    assert len(answering) > 300
    found = {
        "p99": answering[math.ceil(0.99 * len(answering)) - 1],
        "connecting": max(max(record["connecting"]) for record in records),
    }
    print({name: f"{1000 * seconds:.1f} ms" for name, seconds in found.items()})
    return found


@functools.cache
def quiet(client: Host, edge: Edge) -> Delays:
    """Return what it takes while nothing else happens."""
    return delays(client, edge)


def assert_little_slower(client: Host, edge: Edge, attack: Callable[[], Attack]) -> None:
    """Attack while normal clients ask; again, if they waited long, as the machine may be why."""
    before = quiet(client, edge)
    for _ in range(TRIES):
        with attack():
            meanwhile = delays(client, edge)
        times = {name: seconds / before[name] for name, seconds in meanwhile.items()}
        print({name: f"{factor:.1f} times" for name, factor in times.items()})
        if max(times.values()) < TIMES:
            return
    raise AssertionError(times)


@pytest.mark.parametrize("attack", ATTACKS)
def test_normal_clients_are_served_meanwhile(
    edge: Edge, attacker: Host, client: Host, strangers: Callable[[], str], attack: str
) -> None:
    least, arguments = ATTACKS[attack]

    @contextlib.contextmanager
    def block() -> Iterator[None]:
        where = ("--name", edge.name, "--source", strangers())
        companion = Companion(attacker, *arguments, *where)
        yield
        report = companion.result(60)
        print(attack, report)
        assert max(report.get(what, 0) for what in ("opened", "requests", "sent")) >= least

    assert_little_slower(client, edge, block)


@pytest.mark.parametrize("kind", ["-H", "-B", "-X"])
def test_slowhttptest(edge: Edge, attacker: Host, client: Host, kind: str) -> None:
    """400 connections with slow heads, slow bodies or slow readers."""

    @contextlib.contextmanager
    def block() -> Iterator[None]:
        command = f"slowhttptest {kind} -c 400 -r 200 -i 2 -l {SECONDS + 8} -p 3 -u {edge.url()}"
        started = attacker.run(f"systemd-run --collect --unit=slow {command}")
        assert started.rc == 0, started.stderr
        try:
            yield
            held = f"ss -Htn state established '( dport = 443 )' dst {edge.address} | wc -l"
            assert int(attacker.run(held).stdout) >= 60
        finally:
            attacker.run("systemctl stop slow")

    # Its IPv6 address shares a /64 with the normal clients, who would be limited together with it.
    attacker.run("echo 'precedence ::ffff:0:0/96 100' > /etc/gai.conf")
    assert_little_slower(client, edge, block)
