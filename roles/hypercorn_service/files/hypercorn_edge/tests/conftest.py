"""Settings of the tests."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from .edge_server import SRC, Server, Shared, serving

sys.path.insert(0, str(SRC))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Return a server of a kind, for tests that leave it as it was."""
    servers: dict[str, Server] = {}
    with ExitStack() as stack:

        def get(kind: str) -> Server:
            if kind not in servers:
                folder = tmp_path_factory.mktemp(kind)
                servers[kind] = stack.enter_context(serving(folder, kind))
            return servers[kind]

        yield get
