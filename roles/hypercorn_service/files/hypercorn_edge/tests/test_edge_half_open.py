"""A flood of first packets, as forged addresses send them."""

import asyncio
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


def test_the_oldest_handshake_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        config = EdgeConfig()
        config.certfile, config.keyfile = str(tmp_path / "c"), str(tmp_path / "k")
        make_certificate(tmp_path / "c", tmp_path / "k")
        loop = asyncio.get_running_loop()

        async def nothing(*_arguments: object) -> None:
            pass

        protocol = quic.QuicProtocol(
            cast(Any, nothing),
            config,
            WorkerContext(None),
            TaskGroup(loop),
            ConnectionState({}),
            None,
            nothing,
            Transport(),
            lambda _connection: None,
        )
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
