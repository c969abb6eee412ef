"""Who is slow, greedy or loud costs a normal client little, without anybody being banned."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from lab import Companion
from misuse import Edge
from testinfra.host import Host

SECONDS = 6  # for which a normal client asks meanwhile
TIMES = 5  # what is quick in quiet may take that much longer
SSE = "/api/sse?interval=0.01&count=10000"
ATTACKS = {
    "tls": ("probe.slow", "tls", "200"),
    "h2-headers": ("probe.slow", "h2-headers", "120"),
    "h2-window": ("probe.slow", "h2-window", "120", "--path", "/api/sse?interval=1&count=60"),
    "quic": ("probe.slow", "quic", "120"),
    "quic-idle": ("probe.slow", "quic-idle", "120"),
    "reset-h2": ("probe.rapid_reset", "h2"),
    "reset-h3": ("probe.rapid_reset", "h3"),
    "greedy-h1": ("probe.greedy", "h1", SSE),
    "greedy-h2": ("probe.greedy", "h2", SSE),
    "greedy-h3": ("probe.greedy", "h3", SSE),
    "junk": ("probe.junk", "--datagrams", "5000"),
}


@pytest.fixture(scope="module", autouse=True)
def no_bans(target: Host, twin: Host) -> Iterator[None]:
    """Nobody is banned here: a ban would end each attack within a second."""
    for host in (target, twin):
        assert host.run("systemctl stop fail2ban").rc == 0
    yield
    for host in (target, twin):
        assert host.run("systemctl start fail2ban").rc == 0


def asked(client: Host, edge: Edge) -> float:
    """Ask over each protocol for a while; return the seconds that 99 % of the answers took."""
    arguments = ("--name", edge.name, "--path", "/api/livez", "--interval", "0.2")
    bystander = Companion(client, "probe.bystander", *arguments)
    bystander.wait(SECONDS)
    records: dict[str, dict[str, Any]] = bystander.result()
    print({name: (r["asked"], r["p50"], r["p99"], r["slowest"]) for name, r in records.items()})
    assert {name: record["failures"] for name, record in records.items()} == {
        "h1": [], "h2": [], "h3": []
    }  # fmt: skip
    return max(float(record["p99"]) for record in records.values())


@functools.cache
def quiet(client: Host, edge: Edge) -> float:
    """Return what 99 % of the answers take while nothing else happens."""
    return max(asked(client, edge), 0.005)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_normal_client_is_served_meanwhile(
    edge: Edge, attacker: Host, client: Host, strangers: Callable[[], str], attack: str
) -> None:
    before = quiet(client, edge)
    where = ("--name", edge.name, "--source", strangers())
    module, *arguments = ATTACKS[attack]
    companion = Companion(attacker, module, *arguments, *where)
    meanwhile = asked(client, edge)
    report = companion.result(60)
    print(attack, report, f"{meanwhile / before:.1f} times")
    assert report.get("opened", 0) + report.get("refused", 0) + report.get("sent", 0) > 0
    assert meanwhile < TIMES * before


@pytest.mark.parametrize("kind", ["-H", "-B", "-X"])
def test_slowhttptest(edge: Edge, attacker: Host, client: Host, kind: str) -> None:
    """400 connections with slow heads, slow bodies or slow readers."""
    before = quiet(client, edge)
    command = f"slowhttptest {kind} -c 400 -r 200 -i 2 -l {SECONDS + 4} -p 3 -u {edge.url()}"
    started = attacker.run(f"systemd-run --collect --unit=slow {command}")
    assert started.rc == 0, started.stderr
    try:
        meanwhile = asked(client, edge)
    finally:
        attacker.run("systemctl stop slow")
    print(kind, f"{meanwhile / before:.1f} times")
    assert meanwhile < TIMES * before
