"""The hosts of every scenario as fixtures, for a conftest.py to import."""

from __future__ import annotations

import pytest
from lab import Curl, connect
from testinfra.host import Host


@pytest.fixture(scope="session")
def target() -> Host:
    return connect("target")


@pytest.fixture(scope="session")
def client() -> Host:
    return connect("client")


@pytest.fixture(scope="session")
def curl(client: Host) -> Curl:
    return Curl(client)
