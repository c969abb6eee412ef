"""Mends for Hypercorn's QUIC: what a client does to its connection stays in that connection."""

import asyncio
from collections.abc import Awaitable, Callable
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.h3.connection import ErrorCode
from aioquic.quic.events import (
    ConnectionIdIssued,
    ConnectionIdRetired,
    ConnectionTerminated,
    HandshakeCompleted,
    ProtocolNegotiated,
)
from aioquic.quic.packet import (
    QuicHeader,
    QuicPacketType,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.events import Event, RawData
from hypercorn.protocol.quic import QuicProtocol as StockQuicProtocol
from hypercorn.typing import AppWrapper, ConnectionState, WorkerContext

from .config import EdgeConfig
from .h3 import FlowControlledQuic, H3Protocol

_HALF_OPEN = 512  # connections
_INITIAL = 1200  # bytes, the smallest first datagram (RFC 9000 section 14.1)
_CONNECTIONS = 2048
_HELD_LIMIT = 16 * 1024 * 1024  # bytes of requests, per connection
_WEIGHT_LIMIT = 128 * 1024 * 1024  # bytes of requests and answers, of all connections
_TICK = 0.001  # seconds, the resolution of uvloop's timers


@dataclass(eq=False)
class Connection:
    """A QUIC connection, known by each of its IDs."""

    quic: FlowControlledQuic
    cids: set[bytes]
    client: Any
    h3: H3Protocol | None = None
    timer: asyncio.TimerHandle | None = None
    timer_at: float = 0.0
    closed: bool = False
    weight: int = 0  # bytes in memory, when last looked at
    error: Exception | None = None  # that ended it outside of a task


class QuicProtocol(StockQuicProtocol):
    """All connections of one UDP socket.

    - An error of one connection ended the listener, and all connections with it.
      (https://github.com/pgjones/hypercorn/issues/329)
    - A task per connection was cancelled and made anew for each datagram; if the timer fired,
      that task cancelled itself. (https://github.com/pgjones/hypercorn/pull/201)
    - A version negotiation packet was answered by one, so that two servers could be set on each
      other.
    - The number of handshakes under way had no limit.
    - A handshake that began with a forged address could be completed from another one, and the
      forged one stood for the client from then on.
    """

    config: EdgeConfig
    connections: dict[bytes, Connection]  # type: ignore[assignment]
    task_group: TaskGroup

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        app: AppWrapper,
        config: EdgeConfig,
        context: WorkerContext,
        task_group: TaskGroup,
        state: ConnectionState,
        server: tuple[str, int] | None,
        send: Callable[[Event], Awaitable[None]],
        transport: asyncio.DatagramTransport,
        wake: Callable[[Connection | None], None],
    ) -> None:
        """Have `wake` call `handle_timer` soon, or look at `idle` if it is given nothing."""
        config = copy(config)
        config.max_app_queue_size = 0  # an app that does not read must not stop the others
        super().__init__(app, config, context, task_group, state, server, send)
        if config.certificates is not None:
            config.certificates.serve_quic(self.quic_config)
        self._held_limit = max(_HELD_LIMIT, 2 * config.max_body_size)
        self._weight_limit = max(_WEIGHT_LIMIT, 2 * self._held_limit)
        self._weight = 0  # of all connections
        self._open = 0  # connections
        self._transport = transport
        self._wake = wake
        self._half_open: dict[Connection, None] = {}  # oldest first
        self._changed: dict[Connection, None] = {}  # those that may have something to send
        self._flushing: asyncio.Handle | None = None
        self._draining = False

    @property
    def idle(self) -> bool:
        """Whether all connections are closed, as far as we are concerned."""
        return all(connection.closed for connection in self.connections.values())

    def drain(self) -> None:
        """Accept nothing new, and close each connection once it has nothing left to do."""
        self._draining = True
        for connection in set(self.connections.values()):
            self._changed[connection] = None
            if connection.h3 is not None:
                try:
                    connection.h3.drain()
                except RuntimeError:  # the client has stopped the control stream
                    connection.quic.close(ErrorCode.H3_NO_ERROR)

    def close(self) -> None:
        """Close all connections."""
        for connection in set(self.connections.values()):
            connection.quic.close(ErrorCode.H3_NO_ERROR)
            self._transmit(connection)
            self._forget(connection)

    async def handle(self, event: Event) -> None:
        """Take in one datagram. Call `flush` after the last one at hand."""
        if not isinstance(event, RawData):
            return
        try:
            header = pull_quic_header(Buffer(data=event.data), host_cid_length=8)
        except ValueError:
            return
        versions = self.quic_config.supported_versions
        if header.version is not None and header.version not in versions:
            if (
                header.packet_type != QuicPacketType.VERSION_NEGOTIATION
                and len(event.data) >= _INITIAL
            ):
                data = encode_quic_version_negotiation(
                    source_cid=header.destination_cid,
                    destination_cid=header.source_cid,
                    supported_versions=versions,
                )
                await self.send(RawData(data, event.address))
            return
        connection = self.connections.get(header.destination_cid)
        if connection is None:
            connection = self._accept(header, event)
        if connection is not None:
            if connection in self._half_open and event.address != connection.client:
                # Until the handshake ends, an address proves itself by what it receives: with
                # another one in between, requests would count against whoever the first one is.
                return
            now = self.context.time()
            await self._act(
                connection,
                partial(connection.quic.receive_datagram, event.data, event.address, now),
            )

    async def handle_timer(self, connection: Connection) -> None:
        """Let a connection act whose time has come, or end one that failed."""
        if connection.error is not None:
            await self.config.log.error("A QUIC connection failed: %r", connection.error)
            self._forget(connection)
            if connection.h3 is not None:
                code = ErrorCode.H3_INTERNAL_ERROR
                await connection.h3.handle(ConnectionTerminated(code, None, "failed"))
            connection.quic.release()
            return
        await self._act(connection, partial(connection.quic.handle_timer, self.context.time()))

    def flush(self) -> None:
        """Send what the connections have to send."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        while self._changed:
            connection, _ = self._changed.popitem()
            self._transmit(connection)

    async def send_all(self, connection: Connection) -> None:  # type: ignore[override]
        """Have what the app sent go out, together with what else it sends before it waits."""
        self._changed[connection] = None
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_soon(self.flush)

    def _accept(self, header: QuicHeader, event: RawData) -> Connection | None:
        cid = header.destination_cid
        if (
            header.packet_type != QuicPacketType.INITIAL
            or len(event.data) < _INITIAL
            or len(cid) < 8  # noqa: PLR2004  # RFC 9000 section 7.2
            or self._draining
            or self._open >= _CONNECTIONS
        ):
            return None
        if len(self._half_open) >= _HALF_OPEN:
            # Most are forged, as a client takes one round trip: the oldest is hardly a real one.
            self._forget(next(iter(self._half_open)))
        quic = FlowControlledQuic(self.quic_config, cid)
        connection = Connection(quic, {cid, quic.host_cid}, event.address)
        self._half_open[connection] = None
        self._open += 1
        for known in connection.cids:
            self.connections[known] = connection
        return connection

    async def _act(self, connection: Connection, action: Callable[[], None]) -> None:
        self._changed[connection] = None
        try:
            action()
            while (event := connection.quic.next_event()) is not None:
                self._note(connection, event)
                if connection.h3 is not None:
                    await connection.h3.handle(event)
            if connection.h3 is not None:
                connection.h3.wake()
        except Exception as error:
            await self.config.log.error("A QUIC connection failed: %r", error)
            connection.quic.close(ErrorCode.H3_INTERNAL_ERROR)

    def _note(self, connection: Connection, event: object) -> None:
        if isinstance(event, ProtocolNegotiated):
            connection.h3 = H3Protocol(
                self.app,
                self.config,
                self.context,
                self.task_group,
                self.state,
                connection.client[:2],  # IPv6 has four parts, ASGI two
                self.server,
                connection.quic,
                partial(self.send_all, connection),
            )
        elif isinstance(event, HandshakeCompleted):
            self._half_open.pop(connection, None)
        elif isinstance(event, ConnectionIdIssued):
            connection.cids.add(event.connection_id)
            self.connections[event.connection_id] = connection
        elif isinstance(event, ConnectionIdRetired):
            connection.cids.discard(event.connection_id)
            self.connections.pop(event.connection_id, None)
        elif isinstance(event, ConnectionTerminated):
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        if connection.cids:
            self._open -= 1
        self._weigh(connection, 0)
        connection.closed = True
        if connection.timer is not None:
            connection.timer.cancel()
        for cid in connection.cids:
            self.connections.pop(cid, None)
        connection.cids.clear()
        self._half_open.pop(connection, None)
        if self._draining:
            self._wake(None)

    def _transmit(self, connection: Connection) -> None:
        """Send what is due, and set the timer for what is due later."""
        quic, now = connection.quic, self.context.time()
        try:
            if connection.h3 is not None and not connection.closed:
                if connection.h3.held > self._held_limit:
                    quic.close(ErrorCode.H3_EXCESSIVE_LOAD, reason_phrase="too much unread")
                self._weigh(connection, connection.h3.weight)
            if self._draining and (connection.h3 is None or connection.h3.done):
                quic.close(ErrorCode.H3_NO_ERROR)
                connection.closed = True
                self._wake(None)
            for data, address in quic.datagrams_to_send(now):
                self._transport.sendto(data, address)
            at = quic.get_timer()
        except Exception as error:
            connection.error = error
            self._wake(connection)
            return
        if at is None or not connection.cids:
            return
        if connection.timer is None or at < connection.timer_at:
            if connection.timer is not None:
                connection.timer.cancel()
            connection.timer_at = at
            loop = asyncio.get_running_loop()
            connection.timer = loop.call_later(max(_TICK, at - now), self._due, connection)

    def _weigh(self, connection: Connection, weight: int) -> None:
        """Note what a connection has in memory. If all have too much, the heaviest ends."""
        self._weight += weight - connection.weight
        connection.weight = weight
        if self._weight > self._weight_limit:
            heaviest = max(self.connections.values(), key=lambda one: one.weight)
            heaviest.quic.close(ErrorCode.H3_EXCESSIVE_LOAD, reason_phrase="too much in memory")
            heaviest.closed = True
            heaviest.error = MemoryError("too much in memory")
            self._weight -= heaviest.weight
            heaviest.weight = 0
            self._changed[heaviest] = None
            self._wake(heaviest)

    def _due(self, connection: Connection) -> None:
        connection.timer = None
        self._wake(connection)
