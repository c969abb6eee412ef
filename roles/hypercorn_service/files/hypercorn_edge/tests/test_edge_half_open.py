"""A flood of first packets, as forged addresses send them."""

import asyncio
import ssl
import time
from pathlib import Path
from typing import Any, cast

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.events import RawData
from hypercorn.typing import ConnectionState
from hypercorn_edge import quic
from hypercorn_edge.config import EdgeConfig

from .edge_server import make_certificate


class Transport(asyncio.DatagramTransport):
    def sendto(self, data: Any, addr: Any = None) -> None:
        pass


def first_packet() -> bytes:
    configuration = QuicConfiguration(alpn_protocols=["h3"], server_name="localhost")
    client = QuicConnection(configuration=configuration)
    client.connect(("127.0.0.1", 9), now=time.time())
    return client.datagrams_to_send(now=time.time())[0][0]


def listening(folder: Path, transport: asyncio.DatagramTransport) -> quic.QuicProtocol:
    """Return what handles the datagrams of one socket."""
    config = EdgeConfig()
    config.certfile, config.keyfile = str(folder / "c"), str(folder / "k")
    make_certificate(folder / "c", folder / "k")

    async def nothing(*_arguments: object) -> None:
        pass

    return quic.QuicProtocol(
        cast(Any, nothing),
        config,
        WorkerContext(None),
        TaskGroup(asyncio.get_running_loop()),
        ConnectionState({}),
        None,
        nothing,
        transport,
        lambda _connection: None,
    )


def test_the_oldest_handshake_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        protocol = listening(tmp_path, Transport())
        for _ in range(30):
            await protocol.handle(RawData(first_packet(), ("127.0.0.1", 9)))
            newest = list(protocol.connections.values())[-1]
            protocol.flush()
            assert len(set(protocol.connections.values())) <= 20
            assert newest in protocol.connections.values()
        await protocol.handle(RawData(first_packet()[:1199], ("127.0.0.1", 9)))
        assert len(set(protocol.connections.values())) == 20
        assert len(protocol._half_open) == 20
        protocol.close()
        assert not protocol.connections
        assert protocol.idle

    monkeypatch.setattr(quic, "_HALF_OPEN", 20)
    asyncio.run(scenario())


class Mailbox(Transport):
    """Keeps what is sent, and to whom."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Any]] = []

    def sendto(self, data: Any, addr: Any = None) -> None:
        self.sent.append((data, addr))


@pytest.mark.parametrize("begun_from", ["198.51.100.7", "127.0.0.1"])
def test_a_handshake_ends_from_the_address_it_began_from(tmp_path: Path, begun_from: str) -> None:
    """Else a client could begin as another one, and have its own offences count against that."""
    forged, own = (begun_from, 9), ("127.0.0.1", 9)

    async def scenario() -> bool:
        mailbox = Mailbox()
        protocol = listening(tmp_path, mailbox)
        now = time.time()
        protocol.context.time = lambda: now  # type: ignore[method-assign]
        configuration = QuicConfiguration(
            alpn_protocols=["h3"], server_name="localhost", verify_mode=ssl.CERT_NONE
        )
        client = QuicConnection(configuration=configuration)
        client.connect(("127.0.0.1", 1), now=now)
        for data, _ in client.datagrams_to_send(now=now):
            await protocol.handle(RawData(data, forged))
        protocol.flush()
        (connection,) = set(protocol.connections.values())
        for _ in range(8):
            client.get_timer()  # without a look at it there is none
            now += 1  # what was not answered is sent again, on both sides
            client.handle_timer(now=now)
            for data, _ in client.datagrams_to_send(now=now):
                await protocol.handle(RawData(data, own))
            await protocol.handle_timer(connection)
            protocol.flush()
            for data, address in mailbox.sent:
                if address == own:
                    client.receive_datagram(data, ("127.0.0.1", 1), now=now)
            mailbox.sent.clear()
        return connection not in protocol._half_open

    assert asyncio.run(scenario()) is (forged == own)
