"""The hosts of the scenario as fixtures."""

from __future__ import annotations

import pytest
from changing import HOSTS, Edge
from hosts import client, curl
from lab import connect

__all__ = ["client", "curl", "edge", "one"]


@pytest.fixture(scope="session", params=HOSTS)
def edge(request: pytest.FixtureRequest) -> Edge:
    """A host in one topology, then one in the other."""
    return Edge(request.param, connect(request.param))


@pytest.fixture(scope="session")
def one() -> Edge:
    """A host, where the topology makes no difference."""
    return Edge("target", connect("target"))
