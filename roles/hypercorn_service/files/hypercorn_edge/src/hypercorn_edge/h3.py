"""Mends for Hypercorn's HTTP/3: what a client does to one stream stays in that stream."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import pylsqpack
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import ErrorCode, FrameType, H3Connection, Setting, encode_frame
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import (
    ConnectionTerminated,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.recovery import QuicPacketSpace
from aioquic.quic.stream import QuicStream
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.protocol.events import (
    Body,
    Data,
    EndBody,
    EndData,
    InformationalResponse,
    Request,
    Response,
    StreamClosed,
    Trailers,
)
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h3 import H3Protocol as StockH3Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from hypercorn.typing import AppWrapper, ConnectionState, WorkerContext
from hypercorn.utils import filter_pseudo_headers

from .config import EdgeConfig
from .settings import TOKEN
from .stream_tasks import WINDOW, StreamTasks

# One of them in a response is an error for which clients close the whole connection.
# (RFC 9114 section 4.2)
_CONNECTION_HEADERS = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"}
)
_PIECE = 64 * 1024  # bytes
_SEND_WINDOW = 256 * 1024  # bytes of an answer that wait for the client
_GOODBYE = 0.3  # seconds that a client may take to note that it is to go
_ABNORMAL = 1006  # the code of a WebSocket that was not closed as one
_UNSENT_LIMIT = 16 * WINDOW


class FlowControlledQuic(QuicConnection):
    """A QUIC connection that lets a client send no further ahead than the app reads.

    aioquic takes as many bytes as come.
    """

    def __init__(self, configuration: QuicConfiguration, first_destination: bytes) -> None:
        """Begin a server's side of a connection whose first packet went to `first_destination`."""
        super().__init__(
            configuration=configuration, original_destination_connection_id=first_destination
        )
        self.unread: Callable[[int], int] = lambda _stream_id: 0  # bytes of a stream

    def held(self, stream: QuicStream) -> int:
        """Return how many bytes of `stream` wait for the app, or for a gap to be filled."""
        receiver = stream.receiver
        gap = 0 if receiver.is_finished else receiver.highest_offset - receiver.starting_offset()
        return gap + self.unread(stream.stream_id or 0)

    def gaps(self) -> int:
        """Return how many bytes of all streams wait for a gap to be filled."""
        receivers = [stream.receiver for stream in self._streams.values()]
        return sum(r.highest_offset - r.starting_offset() for r in receivers if not r.is_finished)

    def unsent(self, stream_id: int) -> int:
        """Return how many bytes the client has not acknowledged."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else stream.sender._buffer_stop - stream.sender._buffer_start

    def stopped(self, stream_id: int) -> bool:
        """Say whether the client no longer wants what is sent, which may not have come up yet."""
        stream = self._streams.get(stream_id)
        return stream is None or stream.sender._reset_error_code is not None

    def release(self) -> None:
        """Give the memory back at once: this connection will not be used any more."""
        self._streams.clear()

    def all_sent(self) -> bool:
        """Say whether the client has all that was sent on streams which have ended."""
        senders = [stream.sender for stream in self._streams.values()]
        return all(sender.is_finished or sender._buffer_fin is None for sender in senders)

    def has_all(self, stream_id: int) -> bool:
        """Say whether the client has all that was sent on a stream so far."""
        stream = self._streams.get(stream_id)
        return stream is None or stream.sender._buffer_start == stream.sender._buffer_stop

    def _write_stream_limits(
        self, builder: QuicPacketBuilder, space: QuicPacketSpace, stream: QuicStream
    ) -> None:
        if self.held(stream) < WINDOW:
            super()._write_stream_limits(builder, space, stream)


class _H3Connection(H3Connection):
    """HTTP/3 without QPACK's dynamic table, and with a limit on header lists.

    With the table, a few kB that refer to one large entry again and again unpack to many MB.
    """

    def __init__(self, quic: QuicConnection, max_header_list_size: int) -> None:
        self._max_header_list_size = max_header_list_size
        super().__init__(quic)

    def _init_connection(self) -> None:
        self._max_table_capacity = self._blocked_streams = 0
        self._decoder = pylsqpack.Decoder(0, 0)
        super()._init_connection()

    def _get_local_settings(self) -> dict[int, int]:
        limit = {Setting.MAX_FIELD_SECTION_SIZE: self._max_header_list_size}
        return super()._get_local_settings() | limit

    def go_away(self, stream_id: int) -> None:
        """Announce that requests from `stream_id` on will not be served."""
        frame = encode_frame(FrameType.GOAWAY, encode_uint_var(stream_id))
        self._quic.send_stream_data(self.control, frame)

    @property
    def control(self) -> int:
        """The stream of our settings and of this announcement."""
        return self._local_control_stream_id or 0

    def forget(self, stream_id: int) -> None:
        """Note that we have ended a stream by a reset, of which aioquic's HTTP/3 does not learn."""
        stream = self._stream.get(stream_id)
        if stream is not None:
            stream.sending_ended = True
            if stream.is_ended():
                del self._stream[stream_id]

    def buffered(self, stream_id: int) -> int:
        """Return how many bytes of an incomplete frame are held."""
        stream = self._stream.get(stream_id)
        return 0 if stream is None else len(stream.buffer)


class _RefusedError(Exception):
    """A request that is not for the app: to be answered with `status`, or reset with `code`."""

    def __init__(self, *, status: int = 0, code: int = ErrorCode.H3_MESSAGE_ERROR) -> None:
        super().__init__(status or code)
        self.status = status
        self.code = code


class H3Protocol(StockH3Protocol):
    """One HTTP/3 connection.

    - Data after an early answer, trailers and odd requests raised errors that ended the whole
      listener. (https://github.com/pgjones/hypercorn/issues/329, pull/334)
    - An app that did not read its body stalled all connections.
    - Apps were not told of clients that had gone, and sending to those failed.
      (https://github.com/pgjones/hypercorn/issues/352, pull/201)
    - Connection-specific headers were passed on, for which clients close the connection.
    - A download was buffered whole.
    """

    config: EdgeConfig
    connection: _H3Connection
    task_group: TaskGroup

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        app: AppWrapper,
        config: EdgeConfig,
        context: WorkerContext,
        task_group: TaskGroup,
        state: ConnectionState,
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
        quic: FlowControlledQuic,
        send: Callable[[], Awaitable[None]],
    ) -> None:
        """Take what Hypercorn passes, but build no H3Connection of its kind."""
        self.app = app
        self.client = client
        self.config = config
        self.context = context
        self.quic = quic
        self.connection = _H3Connection(quic, config.h2_max_header_list_size)
        self.send = send
        self.server = server
        self.streams = {}
        self.task_group = task_group
        self.state = state
        self.tasks: dict[int, StreamTasks] = {}
        self._receiving: set[int] = set()  # the streams on which the client may still send
        self._sending: set[int] = set()  # the streams on which we may still send
        self._next = 0  # above all streams seen
        self._refused_from: int | None = None
        self._leave_at = 0.0
        self._writable: dict[asyncio.Event, int] = {}  # and the stream that it waits for
        quic.unread = self._unread

    @property
    def done(self) -> bool:
        """Whether there is nothing left to answer and nothing the client does not have.

        A client that has not been told to go does not know which of its requests were not seen.
        """
        told = self.quic.has_all(self.connection.control) or self.context.time() > self._leave_at
        return not self.streams and self.quic.all_sent() and told

    @property
    def held(self) -> int:
        """How many bytes of requests are in memory."""
        return self.quic.gaps() + sum(tasks.unread for tasks in self.tasks.values())

    @property
    def weight(self) -> int:
        """How many bytes of requests and of answers are in memory."""
        return self.held + sum(self.quic.unsent(stream_id) for stream_id in self.streams)

    def drain(self) -> None:
        """Refuse requests from now on."""
        self._refused_from = self._next
        self._leave_at = self.context.time() + _GOODBYE
        self.connection.go_away(self._next)

    def wake(self) -> None:
        """Let those go on who wait for the client to take more."""
        for writable, stream_id in self._writable.items():
            if stream_id not in self._sending or self.quic.unsent(stream_id) <= _SEND_WINDOW:
                writable.set()

    async def handle(self, quic_event: QuicEvent) -> None:
        """Handle one event of the connection. Does not wait for any app."""
        if isinstance(quic_event, ConnectionTerminated):
            for stream_id in list(self.streams):
                await self._close(stream_id, ErrorCode.H3_REQUEST_CANCELLED)
            return
        http_events = self.connection.handle_event(quic_event)
        if isinstance(quic_event, StreamReset | StopSendingReceived):
            if isinstance(quic_event, StreamReset):
                self._receiving.discard(quic_event.stream_id)
            await self._close(quic_event.stream_id, ErrorCode.H3_REQUEST_CANCELLED)
        for event in http_events:
            if isinstance(event, HeadersReceived | DataReceived):
                try:
                    await self._handle_http(event)
                except _RefusedError as error:
                    await self._refuse(event.stream_id, error)
                except Exception as error:
                    await self.config.log.error("An HTTP/3 stream failed: %r", error)
                    await self._close(event.stream_id, ErrorCode.H3_INTERNAL_ERROR)
        if (
            isinstance(quic_event, StreamDataReceived)
            and self.connection.buffered(quic_event.stream_id) > self.config.h2_max_header_list_size
        ):
            self.quic.close(ErrorCode.H3_EXCESSIVE_LOAD, reason_phrase="frame too large")

    async def _handle_http(self, event: HeadersReceived | DataReceived) -> None:
        stream_id = event.stream_id
        if isinstance(event, HeadersReceived):
            pseudo = {name: value for name, value in event.headers if name.startswith(b":")}
            if pseudo:  # others are trailers, which ASGI has no place for
                await self._open(event, pseudo)
        elif stream_id in self.streams:
            await self.streams[stream_id].handle(Body(stream_id, event.data))
        if event.stream_ended:
            self._receiving.discard(stream_id)
            stream = self.streams.get(stream_id)
            if isinstance(stream, HTTPStream):
                await stream.handle(EndBody(stream_id))
            elif stream is not None:  # a WebSocket is over when one side is
                await self._close(stream_id)
        elif stream_id in self.streams and self.streams[stream_id].closed:
            await self._close(stream_id)  # Hypercorn has answered by itself

    async def _open(self, event: HeadersReceived, pseudo: dict[bytes, bytes]) -> None:
        stream_id = event.stream_id
        self._next = max(self._next, stream_id + 4)
        self._sending.add(stream_id)
        self._receiving.add(stream_id)
        if self._refused_from is not None and stream_id >= self._refused_from:
            raise _RefusedError(code=ErrorCode.H3_REQUEST_REJECTED)
        if self.config.floods(self.client, 1, "3"):
            self.quic.close(ErrorCode.H3_EXCESSIVE_LOAD, reason_phrase="too many requests")
            raise _RefusedError(code=ErrorCode.H3_EXCESSIVE_LOAD)
        method, path = pseudo[b":method"].decode("latin-1"), pseudo.get(b":path", b"")
        if method == "CONNECT" and pseudo.get(b":protocol") != b"websocket":
            raise _RefusedError(status=501)
        if not TOKEN.fullmatch(method) or not path.isascii() or not path:
            raise _RefusedError
        if (
            sum(len(k) + len(v) + 32 for k, v in event.headers)
            > self.config.h2_max_header_list_size
        ):
            raise _RefusedError(status=431)
        stream_class = WSStream if method == "CONNECT" else HTTPStream
        tasks = StreamTasks(self.task_group, partial(self.writable, stream_id), self.send)
        self.tasks[stream_id] = tasks
        stream = self.streams[stream_id] = stream_class(
            self.app,
            self.config,
            self.context,
            tasks,
            True,
            self.client,
            self.server,
            self.stream_send,
            stream_id,
        )
        headers = filter_pseudo_headers(event.headers)
        if stream_class is WSStream:
            # wsproto inflates without a limit: a client's window of 1 MiB would become 1 GiB.
            headers = [header for header in headers if header[0] != b"sec-websocket-extensions"]
        await stream.handle(Request(stream_id, headers, "3", method.upper(), path, self.state))
        await self.context.mark_request()

    async def stream_send(self, event: StreamEvent) -> None:
        """Send what the app sends. What it sends to a client that has gone is dropped."""
        stream_id = event.stream_id
        if isinstance(event, StreamClosed):
            await self._close(stream_id)
        elif stream_id in self._sending and not self.quic.stopped(stream_id):
            await self._send_event(event)

    async def _send_event(self, event: StreamEvent) -> None:
        stream_id = event.stream_id
        if isinstance(event, InformationalResponse | Response):
            self.connection.send_headers(stream_id, self._head(event))
        elif isinstance(event, Body):
            for begin in range(0, len(event.data), _PIECE):
                await self.writable(stream_id)
                if stream_id in self._sending and not self.quic.stopped(stream_id):
                    piece = event.data[begin : begin + _PIECE]
                    self.connection.send_data(stream_id, piece, False)
                    await self.send()
        elif isinstance(event, Data):
            self.connection.send_data(stream_id, event.data, False)
            if self.quic.unsent(stream_id) > _UNSENT_LIMIT:
                self.quic.close(ErrorCode.H3_EXCESSIVE_LOAD, reason_phrase="pongs are not read")
        elif isinstance(event, EndBody | EndData):
            self._sending.discard(stream_id)
            self.connection.send_data(stream_id, b"", True)
        elif isinstance(event, Trailers):
            self._sending.discard(stream_id)
            self.connection.send_headers(stream_id, event.headers, True)
        await self.send()

    async def writable(self, stream_id: int) -> None:
        """Wait until the client has taken most of what the stream has sent, or has gone."""
        while stream_id in self._sending and self.quic.unsent(stream_id) > _SEND_WINDOW:
            writable = asyncio.Event()
            self._writable[writable] = stream_id
            try:
                await writable.wait()
            finally:
                del self._writable[writable]

    def _head(self, event: InformationalResponse | Response) -> list[tuple[bytes, bytes]]:
        headers = [(name.lower(), value) for name, value in event.headers]
        return [
            (b":status", b"%d" % event.status_code),
            *(header for header in headers if header[0] not in _CONNECTION_HEADERS),
            *self.config.response_headers("h3"),
        ]

    async def _refuse(self, stream_id: int, error: _RefusedError) -> None:
        if error.status and not self.quic.stopped(stream_id):
            head = self._head(Response(stream_id, [(b"content-length", b"0")], error.status))
            self._sending.discard(stream_id)
            self.connection.send_headers(stream_id, head, True)
        await self._close(stream_id, error.code)

    async def _close(self, stream_id: int, code: int = ErrorCode.H3_INTERNAL_ERROR) -> None:
        """Tell the app that the stream is over, and the client, which sees `code` if cut off."""
        stream = self.streams.pop(stream_id, None)
        self.tasks.pop(stream_id, None)
        if stream_id not in self._sending:  # the answer is complete
            code = ErrorCode.H3_NO_ERROR
        elif (
            isinstance(stream, WSStream)
            and stream.state is ASGIWebsocketState.CONNECTED
            and code == ErrorCode.H3_INTERNAL_ERROR
            and not self.quic.stopped(stream_id)
        ):
            self.connection.send_data(stream_id, b"", True)
        else:
            self.quic.reset_stream(stream_id, code)
            self.connection.forget(stream_id)
        self._sending.discard(stream_id)
        if stream_id in self._receiving:
            self._receiving.discard(stream_id)
            with suppress(ValueError):  # aioquic has forgotten the stream
                self.quic.stop_stream(stream_id, code)
        if stream is not None:
            if isinstance(stream, WSStream) and stream.closed and stream.app_put is not None:
                # Hypercorn has refused the WebSocket by itself and does not tell the app.
                await stream.app_put({"type": "websocket.disconnect", "code": _ABNORMAL})
            await stream.handle(StreamClosed(stream_id))
        self.wake()
        await self.send()

    def _unread(self, stream_id: int) -> int:
        tasks = self.tasks.get(stream_id)
        return 0 if tasks is None else tasks.unread
