"""A connection of HTTP/3, over aioquic."""

from __future__ import annotations

import asyncio
import contextlib

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.connection import (
    QuicConnection,
    QuicConnectionState,
    stream_is_unidirectional,
)
from aioquic.quic.events import (
    ConnectionTerminated,
    HandshakeCompleted,
    QuicEvent,
    StreamDataReceived,
    StreamReset,
)
from aioquic.quic.packet import QuicErrorCode
from ansible_collections.codeintel.mcp_edge.plugins.module_utils.h3_goaway import ControlStream

from steady.exchange import Exchange, FailedError, Request, UntakenError

FINAL = 200  # statuses below are those of interim answers


class Connection(QuicConnectionProtocol):
    """Any number of requests at a time."""

    def __init__(self, quic: QuicConnection, authority: str) -> None:
        """Speak to who answers for this name and port."""
        super().__init__(quic)
        self.heard = 0.0
        self.open = True
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self._authority = authority
        self._h3 = H3Connection(quic)
        self._controls: dict[int, ControlStream] = {}
        self._exchanges: dict[int, Exchange] = {}
        self._udp: asyncio.BaseTransport | None = None

    @property
    def usable(self) -> bool:
        """Whether a request can be sent now."""
        return self.open

    def send(self, request: Request) -> Exchange:
        """Send a request, while this is usable."""
        head = [
            (":method", request.method),
            (":scheme", "https"),
            (":authority", self._authority),
            (":path", request.path),
            *request.headers,
        ]
        if request.body:
            head.append(("content-length", str(len(request.body))))
        number = self._quic.get_next_available_stream_id()
        fields = [(name.encode(), value.encode()) for name, value in head]
        self._h3.send_headers(number, fields, end_stream=not request.body)
        if request.body:
            self._h3.send_data(number, request.body, end_stream=True)
        self.transmit()
        exchange = self._exchanges[number] = Exchange()
        return exchange

    def cancel(self, exchange: Exchange) -> None:
        """Give up a request."""
        for number, candidate in self._exchanges.items():
            if candidate is exchange:
                del self._exchanges[number]
                with contextlib.suppress(ValueError):  # the server has just ended it
                    self._quic.stop_stream(number, ErrorCode.H3_REQUEST_CANCELLED)
                self.transmit()
                break
        self._leave_if_done()

    def retire(self) -> None:
        """Take no more requests, and close as soon as those under way are over."""
        self.open = False
        self._leave_if_done()

    def close(  # the base class has other arguments, which nobody here needs
        self, error_code: int = ErrorCode.H3_NO_ERROR, reason_phrase: str = ""
    ) -> None:
        """Say goodbye and give the socket back."""
        self.open = False
        super().close(error_code, reason_phrase)
        if self._udp is not None:
            self._udp.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket, to close it."""
        super().connection_made(transport)
        self._udp = transport

    def error_received(self, error: Exception) -> None:
        """Give up a handshake with a closed port; later, lost datagrams are QUIC's to repeat."""
        if not self.ready.done():
            self.ready.set_exception(FailedError("connect", str(error)))

    def transmit(self) -> None:
        """Send what is due, unless the socket is closed: aioquic's timers outlive it."""
        if self._udp is not None and not self._udp.is_closing():
            super().transmit()

    def datagram_received(self, data: bytes | str, addr: object) -> None:
        """Notice at once when the server closes; aioquic tells three probe timeouts later."""
        self.heard = self._loop.time()
        super().datagram_received(data, addr)
        event = self._quic._close_event
        if event is not None and self._quic._state is QuicConnectionState.DRAINING:
            self._finish(event)

    def quic_event_received(self, event: QuicEvent) -> None:
        """Sort what came by requests."""
        if isinstance(event, HandshakeCompleted) and not self.ready.done():
            self.ready.set_result(None)
        elif isinstance(event, ConnectionTerminated):
            self._finish(event)
        elif isinstance(event, StreamReset) and event.stream_id in self._exchanges:
            self._exchanges.pop(event.stream_id).fail(_reset(event.error_code))
        elif isinstance(event, StreamDataReceived) and stream_is_unidirectional(event.stream_id):
            control = self._controls.setdefault(event.stream_id, ControlStream())
            first_refused = control.feed(event.data)
            if first_refused is not None:
                self._going_away(first_refused)
        for item in self._h3.handle_event(event):
            self._handle(item)
        self._leave_if_done()

    def _going_away(self, first_refused: int) -> None:
        """Let those requests go on that the server has taken."""
        self.open = False
        for number in [number for number in self._exchanges if number >= first_refused]:
            self._exchanges.pop(number).fail(UntakenError("GOAWAY"))

    def _handle(self, item: H3Event) -> None:
        if not isinstance(item, HeadersReceived | DataReceived):
            return
        exchange = self._exchanges.get(item.stream_id)
        if exchange is None:
            return
        if isinstance(item, DataReceived):
            exchange.piece(item.data)
        elif not exchange.status:
            headers = {name.decode(): value.decode("latin-1") for name, value in item.headers}
            status = int(headers.pop(":status"))
            if status >= FINAL:
                exchange.answered(status, headers)
        if item.stream_ended:
            self._exchanges.pop(item.stream_id).end()

    def _finish(self, event: ConnectionTerminated) -> None:
        self.open = False
        known = ErrorCode if event.frame_type is None else QuicErrorCode
        code = event.error_code
        name = known(code).name if code in set(known) else f"error {code:#x}"
        reason = f"{event.reason_phrase} ({name})" if event.reason_phrase else name
        if not self.ready.done():
            self.ready.set_exception(FailedError("connect", f"the handshake failed: {reason}"))
        for exchange in self._exchanges.values():
            exchange.fail(FailedError("broken", f"the connection ended: {reason}"))
        self._exchanges.clear()
        if self._udp is not None:
            self._udp.close()

    def _leave_if_done(self) -> None:
        if not self.open and not self._exchanges:
            self.close()


def _reset(code: int) -> Exception:
    """Return what a reset means: RFC 9114, section 4.1.1, has one that says "not taken"."""
    if code == ErrorCode.H3_REQUEST_REJECTED:
        return UntakenError("H3_REQUEST_REJECTED")
    name = ErrorCode(code).name if code in set(ErrorCode) else hex(code)
    return FailedError("broken", f"the server reset the stream: {name}")
