"""A server of the project's on loopback, with TLS and QUIC, that may be killed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ..authority import Authority  # noqa: TID252 - the tests are no package that is installed

HERE = Path(__file__).parent
EDGE = HERE.parents[2] / "roles/hypercorn_service/files/hypercorn_edge/src"
NAME = "edge.test"
ADDRESS = "127.0.0.1"


@dataclass
class Server:
    """A process that listens on one port of TCP and UDP, whenever it runs."""

    folder: Path
    ca_file: Path
    certificate: tuple[Path, Path]
    settings: dict[str, int]
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        with socket.create_server((ADDRESS, 0)) as listener:
            self.port = listener.getsockname()[1]
        certfile, keyfile = map(str, self.certificate)
        place = f"{ADDRESS}:{self.port}"
        lines = {"bind": place, "quic_bind": place, "certfile": certfile, "keyfile": keyfile}
        text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
        text += "".join(f"{key} = {json.dumps(value)}\n" for key, value in self.settings.items())
        (self.folder / "hypercorn.toml").write_text(text)

    @property
    def url(self) -> str:
        return f"https://{NAME}:{self.port}"

    def start(self) -> None:
        log = self.folder / "log"
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, EDGE, "--config", self.folder / "hypercorn.toml", "app:app"],
                stdout=output,
                stderr=output,
                cwd=HERE,
            )
        deadline = time.monotonic() + 20
        while log.read_text().count("Running on") < 2:
            assert self.process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


Serve = Callable[..., Server]


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Start a server with some settings."""
    authority = Authority.create(tmp_path_factory.mktemp("tls"), "tests-ca")
    certificate = authority.issue(NAME)
    servers: list[Server] = []

    def start(**settings: int) -> Server:
        folder = tmp_path_factory.mktemp("server")
        servers.append(Server(folder, authority.path, certificate, settings))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="session")
def server(serve: Serve) -> Server:
    """Return a server for tests that leave it running."""
    return serve()
