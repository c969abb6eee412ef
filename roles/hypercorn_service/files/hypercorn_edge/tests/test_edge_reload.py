"""Renewing the certificate of a running server."""

import asyncio
import signal
import socket
from pathlib import Path

from cryptography import x509

from .edge_client import h3
from .edge_server import Server, make_certificate, serving, wait_for
from .test_edge_drain import insecure, tcp_client


async def serials(server: Server) -> tuple[int, int]:
    """Return the serial numbers that a new TCP and a new QUIC handshake show."""
    _, writer = await asyncio.open_connection(server.host, server.port, ssl=insecure())
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    async with h3(server.host, server.port) as client:
        quic = client._quic.tls._peer_certificate
    assert quic is not None
    return x509.load_der_x509_certificate(der).serial_number, quic.serial_number


def reload(server: Server, line: str) -> None:
    before = server.output().count(line)
    server.process.send_signal(signal.SIGHUP)
    assert wait_for(lambda: server.output().count(line) > before), server.output()


def test_new_handshakes_get_the_new_certificate(tmp_path: Path) -> None:
    """Open streams go on, also through a pair that is broken and changes nothing."""

    async def scenario(server: Server) -> None:
        async with (
            asyncio.timeout(20),
            h3(server.host, server.port) as client,
            tcp_client(server, http2=True) as other,
            other.stream("GET", "/events") as response,
        ):
            lines = response.aiter_lines()
            stream_id = client.begin("/events", end=True)
            await client.head(stream_id)
            assert await serials(server) == (server.serial,) * 2

            # The folder has no pair yet: Hypercorn's own files are read.
            second = make_certificate(server.certfile, server.keyfile)
            reload(server, "Serving the certificate")
            assert await serials(server) == (second,) * 2

            folder.mkdir()
            third = make_certificate(folder / "fullchain.pem", folder / "privkey.pem")
            reload(server, "Serving the certificate")
            assert await serials(server) == (third,) * 2

            make_certificate(folder / "fullchain.pem", tmp_path / "of another")
            reload(server, "Serving the old certificate")
            assert await serials(server) == (third,) * 2
            (folder / "privkey.pem").write_text("nonsense")
            reload(server, "Serving the old certificate")
            assert await serials(server) == (third,) * 2

            while not client.queue(stream_id).empty():
                await client.next(stream_id)
            await client.next(stream_id)
            for _ in range(40):
                await anext(lines)

    folder = tmp_path / "renewed"
    edge = {"certificate_reload": str(folder)}
    with serving(tmp_path, edge=edge) as server:
        asyncio.run(scenario(server))


def test_a_start_takes_the_newest_pair(tmp_path: Path) -> None:
    folder = tmp_path / "renewed"
    folder.mkdir()
    serial = make_certificate(folder / "fullchain.pem", folder / "privkey.pem")
    with serving(tmp_path, edge={"certificate_reload": str(folder)}) as server:
        assert asyncio.run(serials(server)) == (serial,) * 2


def test_a_start_with_a_broken_pair_falls_back(tmp_path: Path) -> None:
    folder = tmp_path / "renewed"
    folder.mkdir()
    for name in ("fullchain.pem", "privkey.pem"):
        (folder / name).write_text("nonsense")
    with serving(tmp_path, edge={"certificate_reload": str(folder)}) as server:
        assert asyncio.run(serials(server)) == (server.serial,) * 2
        assert "Not serving a broken certificate" in server.output()


def test_a_reload_without_tls_changes_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, unix=True) as server:
        server.process.send_signal(signal.SIGHUP)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(server.path))
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
