"""The hosts of the scenario as fixtures, and the clients that live on them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from hosts import client, curl, target
from lab import NET, Companion, unit_pid
from testinfra.host import Host

__all__ = ["aliases", "client", "curl", "target", "undisturbed"]


@pytest.fixture(scope="session")
def aliases(client: Host) -> Iterator[list[str]]:
    """More addresses of the client host, as the edge counts what begins by address."""
    addresses = [f"10.203.{NET}.{last}" for last in range(101, 125)]
    add = [f"ip address replace {address}/24 dev eth0" for address in addresses]
    assert client.run("; ".join(add)).rc == 0
    yield addresses
    client.run("; ".join(f"ip address delete {address}/24 dev eth0" for address in addresses))


@pytest.fixture
def undisturbed(client: Host, target: Host) -> Callable[[], AbstractContextManager[None]]:
    """A block in which a bystander is served over each protocol, by the same process all along."""

    @contextlib.contextmanager
    def block() -> Iterator[None]:
        pid = unit_pid(target, "echo")
        bystander = Companion(client, "probe.bystander")
        yield
        records = bystander.result()
        print({name: max(record["answering"], default=0) for name, record in records.items()})
        failures = {name: record["failures"] for name, record in records.items()}
        assert failures == {"h1": [], "h2": [], "h3": []}
        assert unit_pid(target, "echo") == pid

    return block
