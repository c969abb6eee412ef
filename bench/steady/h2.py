"""A connection of HTTP/2, over the library h2."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import cast

import h2.config
import h2.connection
import h2.events
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError

from steady.exchange import Exchange, FailedError, Request, UntakenError

HEAD = 9  # bytes of a frame's head
GOAWAY = 7
WINDOW = 2**24


class Connection(asyncio.Protocol):
    """Any number of requests at a time."""

    def __init__(self, authority: str) -> None:
        """Speak to who answers for this name and port."""
        self.heard = 0.0
        self.open = True
        self._authority = authority
        self._state = h2.connection.H2Connection(h2.config.H2Configuration())
        self._frames = b""
        self._exchanges: dict[int, Exchange] = {}
        self._transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()

    @property
    def usable(self) -> bool:
        """Whether a request can be sent now."""
        return self.open and self._state.open_outbound_streams < (
            self._state.remote_settings.max_concurrent_streams
        )

    def send(self, request: Request) -> Exchange:
        """Send a request, while this is usable."""
        head = [
            (":method", request.method),
            (":scheme", "https"),
            (":authority", self._authority),
            (":path", request.path),
            *request.headers,
        ]
        number = self._state.get_next_available_stream_id()
        self._state.send_headers(number, head, end_stream=not request.body)
        if request.body:
            self._state.send_data(number, request.body, end_stream=True)
        self._flush()
        exchange = self._exchanges[number] = Exchange()
        return exchange

    def cancel(self, exchange: Exchange) -> None:
        """Give up a request."""
        for number, candidate in self._exchanges.items():
            if candidate is exchange:
                del self._exchanges[number]
                with contextlib.suppress(ProtocolError):  # the server has just ended it
                    self._state.reset_stream(number, ErrorCodes.CANCEL)
                self._flush()
                break
        self._leave_if_done()

    def retire(self) -> None:
        """Take no more requests, and close as soon as those under way are over."""
        self.open = False
        self._leave_if_done()

    def close(self) -> None:
        """Close now."""
        self.open = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello, and that answers need not wait for us to make room."""
        self._transport = cast("asyncio.Transport", transport)
        self._state.initiate_connection()
        self._state.increment_flow_control_window(WINDOW)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Sort what came by requests."""
        self.heard = self._loop.time()
        try:
            for frame in self._split(data):
                if frame[3] == GOAWAY:
                    self._going_away(frame)
                else:
                    for event in self._state.receive_data(frame):
                        self._handle(event)
        except ProtocolError as error:
            self._fail_all(f"the server broke HTTP/2's rules: {error}")
            self.close()
        self._flush()
        self._leave_if_done()

    def eof_received(self) -> None:
        """Notice that the server will say no more."""
        self._fail_all("the connection was closed")

    def connection_lost(self, error: Exception | None) -> None:
        """Notice the end."""
        self._fail_all(
            f"the connection was closed: {error}" if error else "the connection was closed"
        )

    def _split(self, data: bytes) -> Iterator[bytes]:
        """Give whole frames: after a GOAWAY h2 would refuse what still comes for open requests."""
        self._frames += data
        while len(self._frames) >= HEAD:
            size = HEAD + int.from_bytes(self._frames[:3])
            if len(self._frames) < size:
                return
            frame, self._frames = self._frames[:size], self._frames[size:]
            yield frame

    def _going_away(self, frame: bytes) -> None:
        """Let those requests go on that the server has taken."""
        self.open = False
        last = int.from_bytes(frame[HEAD : HEAD + 4]) & 0x7FFFFFFF
        for number in [number for number in self._exchanges if number > last]:
            self._exchanges.pop(number).fail(UntakenError("GOAWAY"))

    def _handle(self, event: h2.events.Event) -> None:
        number = getattr(event, "stream_id", None)
        if number not in self._exchanges:
            return
        exchange = self._exchanges[number]
        if isinstance(event, h2.events.ResponseReceived):
            headers = {_text(name): _text(value) for name, value in event.headers or []}
            exchange.answered(int(headers.pop(":status")), headers)
        elif isinstance(event, h2.events.DataReceived):
            self._state.acknowledge_received_data(event.flow_controlled_length or 0, number)
            exchange.piece(event.data or b"")
        elif isinstance(event, h2.events.StreamEnded):
            self._exchanges.pop(number).end()
        elif isinstance(event, h2.events.StreamReset):
            self._exchanges.pop(number).fail(_reset(event.error_code))

    def _fail_all(self, text: str) -> None:
        self.open = False
        for exchange in self._exchanges.values():
            exchange.fail(FailedError("broken", text))
        self._exchanges.clear()

    def _leave_if_done(self) -> None:
        if not self.open and not self._exchanges:
            self.close()

    def _flush(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._state.data_to_send())


def _reset(code: ErrorCodes | int) -> Exception:
    """Return what a reset means: RFC 9113, section 8.7, has one that says "not taken"."""
    if code == ErrorCodes.REFUSED_STREAM:
        return UntakenError("REFUSED_STREAM")
    name = code.name if isinstance(code, ErrorCodes) else hex(code)
    return FailedError("broken", f"the server reset the stream: {name}")


def _text(value: bytes | str) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
