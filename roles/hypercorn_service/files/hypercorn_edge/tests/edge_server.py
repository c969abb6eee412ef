"""Servers as processes on loopback: ours, and Hypercorn's own to compare with."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HERE = Path(__file__).parent
SRC = HERE.parent / "src"
COMMANDS = {
    "stock": ["-m", "hypercorn", "--workers", "0", "--worker-class", "uvloop"],
    "edge": [str(SRC)],
}


def wait_for(condition: Callable[[], bool], seconds: float = 5) -> bool:
    """Say whether `condition` became true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def make_certificate(certfile: Path, keyfile: Path) -> int:
    """Write a self-signed pair for localhost; return its serial number."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    certfile.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    keyfile.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate.serial_number


def toml(settings: dict[str, Any]) -> str:
    """Write `settings` as TOML; the only nesting is that of [edge]."""
    lines = [f"{key} = {inline(value)}\n" for key, value in settings.items() if key != "edge"]
    if "edge" in settings:
        lines += ["[edge]\n", *(f"{k} = {inline(v)}\n" for k, v in settings["edge"].items())]
    return "".join(lines)


def inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {inline(v)}" for k, v in value.items()) + "}"
    return json.dumps(value)


class Server:
    """A process that was handed its sockets: TCP and UDP on one port, or a unix socket."""

    def __init__(  # noqa: PLR0913
        self,
        folder: Path,
        kind: str = "edge",
        *,
        family: int = socket.AF_INET,
        unix: bool = False,
        app: str = "edge_app:app",
        environment: dict[str, str] | None = None,
        instance: Path | None = None,
        beside: "Server | None" = None,
        **settings: Any,
    ) -> None:
        self.folder = folder
        self.kind = kind
        self.certfile, self.keyfile = folder / "fullchain.pem", folder / "privkey.pem"
        self.log = folder / "log"
        self.path = folder / "socket"
        settings = {"graceful_timeout": 10, "include_server_header": False} | settings
        sockets: list[socket.socket]
        if beside is not None:
            sockets = beside.kept
        elif unix:
            sockets = [socket.socket(socket.AF_UNIX)]
            sockets[0].bind(str(self.path))
        else:
            sockets = bind_both(family)
        if not unix:
            self.serial = make_certificate(self.certfile, self.keyfile)
            settings = {"certfile": str(self.certfile), "keyfile": str(self.keyfile)} | settings
            self.host, self.port = sockets[0].getsockname()[:2]
            settings["quic_bind"] = f"fd://{sockets[1].fileno()}"
        settings["bind"] = f"fd://{sockets[0].fileno()}"
        sockets[0].listen(1000)
        if kind == "stock":
            settings.pop("edge", None)
        config = folder / "hypercorn.toml"
        config.write_text(toml(settings))
        command = [sys.executable, *COMMANDS[kind], "--config", str(config)]
        command += ["--instance", str(instance)] if instance else []
        command.append(app)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                pass_fds=[sock.fileno() for sock in sockets],
                stdout=log,
                stderr=log,
                cwd=HERE,
                env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | (environment or {}),
            )
        self.sockets = len(sockets)
        self.kept: list[socket.socket] = sockets if instance else []  # for one beside it
        if not instance:
            for sock in sockets:
                sock.close()

    def wait_until_ready(self) -> None:
        ready = wait_for(lambda: self.output().count("Running on") >= self.sockets, 20)
        assert ready, self.output()

    def output(self) -> str:
        return self.log.read_text()

    def stop(self, seconds: float = 15) -> float:
        """Send SIGTERM; return how many seconds the process then took."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(seconds)
        return time.monotonic() - begin


Shared = Callable[[str], Server]


def bind_both(family: int) -> list[socket.socket]:
    """Return a TCP and a UDP socket on one free port of loopback."""
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    for _ in range(100):
        tcp = socket.socket(family, socket.SOCK_STREAM)
        tcp.bind((host, 0))
        udp = socket.socket(family, socket.SOCK_DGRAM)
        try:
            udp.bind((host, tcp.getsockname()[1]))
        except OSError:
            tcp.close()
            udp.close()
        else:
            return [tcp, udp]
    raise AssertionError("no free port")


@contextmanager
def serving(
    folder: Path, kind: str = "edge", *, wait: bool = True, **options: Any
) -> Iterator[Server]:
    """Run a server; at the end, kill it if it still runs."""
    server = Server(folder, kind, **options)
    try:
        if wait:
            server.wait_until_ready()
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
        for sock in server.kept:
            sock.close()
        sys.stdout.write(server.output())  # shown where a test fails
