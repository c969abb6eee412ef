"""What systemd is told, over a real socket."""

import os
import signal
import socket
from pathlib import Path

import pytest

from .edge_server import Server, serving


class Manager:
    """The socket at which systemd listens."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(5)

    def next(self) -> str:
        return self.socket.recv(1000).decode()


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_states(tmp_path: Path, kind: str) -> None:
    name = f"hypercorn-edge-test-{os.getpid()}"
    address = str(tmp_path / "notify") if kind == "path" else f"\0{name}"
    manager = Manager(address)
    environment = {"NOTIFY_SOCKET": address if kind == "path" else f"@{name}", "STARTUP": "0.3"}
    with serving(tmp_path, unix=True, environment=environment) as server:
        assert manager.next() == "READY=1\nSTATUS=Serving"
        assert "Running on" in server.output()  # the app is up and the socket listens
        server.process.send_signal(signal.SIGHUP)
        states = manager.next().splitlines()
        assert states[0] == "RELOADING=1"
        assert states[1].startswith("MONOTONIC_USEC=")
        assert manager.next() == "READY=1"
        server.process.terminate()
        assert manager.next().startswith("STOPPING=1\nSTATUS=")


def test_watchdog(tmp_path: Path) -> None:
    """It is fed from the event loop: one that is frozen feeds it no more."""
    manager = Manager(str(tmp_path / "notify"))
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    with serving(tmp_path, unix=True, environment=environment) as server:
        assert manager.next() == "WATCHDOG=1"
        assert manager.next().startswith("READY=1")
        for _ in range(4):
            assert manager.next() == "WATCHDOG=1"
        freeze(server)
        manager.socket.settimeout(1)
        with pytest.raises(TimeoutError):
            for _ in range(3):  # one or two may have been under way
                manager.next()


def freeze(server: Server) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(server.path))
        client.sendall(b"GET /freeze HTTP/1.1\r\nHost: a\r\n\r\n")
