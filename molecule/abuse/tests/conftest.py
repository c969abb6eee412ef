"""The hosts of the scenario as fixtures, and addresses that nobody has misused yet."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from hosts import client, curl, target
from lab import ADDRESSES, NET, connect
from misuse import STRANGERS, STRANGERS6, Edge
from testinfra.host import Host

__all__ = ["attacker", "client", "curl", "edge", "elder", "strangers", "target", "twin"]


@pytest.fixture(scope="session")
def twin() -> Host:
    return connect("twin")


@pytest.fixture(scope="session")
def attacker() -> Host:
    return connect("attacker")


@pytest.fixture(scope="session")
def elder() -> Host:
    return connect("elder")


@pytest.fixture(scope="session", params=["terminating", "passthrough"])
def edge(request: pytest.FixtureRequest, target: Host, twin: Host) -> Edge:
    """The endpoint of each topology."""
    if request.param == "terminating":
        return Edge("target", target, "mcp.test", ADDRESSES["target"])
    return Edge("twin", twin, "twin.test", ADDRESSES["twin"])


@pytest.fixture(scope="session")
def strangers(attacker: Host, target: Host, twin: Host) -> Iterator[Callable[[], str]]:
    """A function that gives an address of the attacker's that nobody knows yet.

    The endpoints know the way to those of IPv6 as well, which are a /48.
    """
    add = "; ".join(f"ip address replace {address}/24 dev eth0" for address in STRANGERS)
    assert attacker.run(add).rc == 0
    for host in (target, twin):
        way = f"ip -6 route replace {STRANGERS6}::/48 via fd53:203:{NET}::50"
        assert host.run(f"{way} && fail2ban-client unban --all").rc == 0
    fresh = iter(random.sample(STRANGERS, len(STRANGERS)))  # those of the last run are known
    yield lambda: next(fresh)
    attacker.run("; ".join(f"ip address delete {address}/24 dev eth0" for address in STRANGERS))
