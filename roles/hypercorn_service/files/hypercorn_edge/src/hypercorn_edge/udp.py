"""Mends for Hypercorn's UDP server: one loop that waits for nothing but datagrams and timers."""

import asyncio
import socket
from contextlib import suppress
from typing import Any, cast

from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.udp_server import UDPServer as StockUDPServer
from hypercorn.events import RawData
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from .config import EdgeConfig
from .quic import Connection, QuicProtocol

_QUEUE = 1024  # datagrams, a tenth of a second of a client that uploads at full speed
_BATCH = 64  # of them, before other tasks have their turn
_BUFFER = 4 * 1024 * 1024  # bytes in the kernel, as far as it allows


class UDPServer(StockUDPServer):
    """One UDP socket.

    The queue held ten datagrams, and dropped the others while one was handled. When stopping,
    the server waited for a datagram that did not come, until the time was over.
    """

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401
        """Take what Hypercorn passes."""
        super().__init__(*arguments)
        # None asks for a look at whether the server has stopped.
        self._queue: asyncio.Queue[RawData | Connection | None] = asyncio.Queue()

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """Enlarge the buffer of the socket, where datagrams wait while an app computes."""
        super().connection_made(transport)
        with suppress(OSError):
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)

    def datagram_received(self, data: bytes, address: Any) -> None:  # noqa: ANN401
        """Queue a datagram, or drop it if there are too many: QUIC will send it again."""
        if self._queue.qsize() < _QUEUE:
            self._queue.put_nowait(RawData(data, address))

    def end(self) -> None:
        """Read no more from the socket: its datagrams are for another process now."""
        if self.transport is not None:
            self.transport.close()

    async def run(self) -> None:
        """Serve until the worker stops and all connections are done."""
        transport = cast(asyncio.DatagramTransport, self.transport)
        sock = transport.get_extra_info("socket")
        stopping = self.loop.create_task(self._note_stop())
        try:
            async with TaskGroup(self.loop) as task_group:
                protocol = QuicProtocol(
                    self.app,
                    cast(EdgeConfig, self.config),
                    self.context,
                    task_group,
                    ConnectionState(self.state.copy()),
                    parse_socket_addr(sock.family, sock.getsockname()),
                    self.protocol_send,
                    transport,
                    self._queue.put_nowait,
                )
                await self._serve(protocol)
        except Exception as error:
            # With this, UDP would be deaf while TCP serves on: stop, and let systemd start anew.
            await self.config.log.error("The UDP server failed: %r", error)
            await self.context.terminate.set()
        finally:
            stopping.cancel()
            protocol.close()

    async def _serve(self, protocol: QuicProtocol) -> None:
        draining = False
        while not (draining and protocol.idle):
            for _ in range(_BATCH):
                item = await self._queue.get()
                if isinstance(item, RawData):
                    await protocol.handle(item)
                elif item is not None:
                    await protocol.handle_timer(item)
                if self._queue.empty():
                    break
            if self.context.terminated.is_set() and not draining:
                draining = True
                protocol.drain()
            protocol.flush()
            await asyncio.sleep(0)

    async def _note_stop(self) -> None:
        await self.context.terminated.wait()
        self._queue.put_nowait(None)
