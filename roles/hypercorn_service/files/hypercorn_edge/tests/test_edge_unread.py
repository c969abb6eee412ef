"""Answers to requests whose bodies the app has not read."""

import socket
from pathlib import Path

import pytest

from .edge_server import Server, serving


@pytest.mark.parametrize("kind", ["stock", "edge"])
@pytest.mark.parametrize("path", ["nowhere", "raises", "hop"])
def test_an_early_answer_ends(tmp_path: Path, kind: str, path: str) -> None:
    """Hypercorn's own server keeps the app, and the connection, after the client has gone."""
    with serving(tmp_path, kind, unix=True, graceful_timeout=2) as server:
        upload(server, path)
        assert (server.stop() < 1) == (kind == "edge")
        if kind == "edge":
            assert "never retrieved" not in server.output()


def upload(server: Server, path: str) -> None:
    """Send a body in many pieces until the server has answered and closes, and leave."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(server.path))
        client.settimeout(1)
        head = f"POST /{path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        try:
            client.sendall(head.encode())
            for _ in range(500):
                client.sendall(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
        except OSError:
            pass  # it is closed, or takes no more
