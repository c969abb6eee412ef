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


@pytest.fixture(scope="session")
def browser(client: Host) -> Host:
    """Return the client host with Chromium on it."""
    installed = client.run(
        "command -v chromium certutil || { apt-get -qq update && DEBIAN_FRONTEND=noninteractive"
        " apt-get -qq install -y --no-install-recommends"
        " chromium fonts-dejavu-core libnss3-tools; }"
    )
    assert installed.rc == 0, installed.stderr
    return client
