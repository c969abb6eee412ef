"""HTTP/3 over aioquic: ordinary requests, and all that an ordinary client would never send.

Times are those of the event loop, in seconds. A wait that is too long raises TimeoutError, and an
answer that can no longer become complete raises BrokenError.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import ErrorCode, FrameType, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection, QuicConnectionState
from aioquic.quic.events import (
    ConnectionTerminated,
    PingAcknowledged,
    ProtocolNegotiated,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)
from cryptography import x509

Headers = list[tuple[bytes, bytes]]
# The root that the lab's ACME server issues from. The system's whole bundle takes long to read.
LAB_ROOT = "/usr/local/share/ca-certificates/lab.crt"
USER_AGENT = ("user-agent", "codeintel-probe")  # who names none is refused for that alone
SUCCESS = 200
GOODBYE = "closed by the server: application 0x100"  # H3_NO_ERROR


class BrokenError(Exception):
    """An answer ended before it was complete, and the text says how."""


@dataclass
class Exchange:
    """One request, and what has come back for it."""

    stream_id: int
    headers: Headers = field(default_factory=list)  # of the final response
    trailers: Headers = field(default_factory=list)
    pieces: list[tuple[float, bytes]] = field(default_factory=list)  # the body, with arrival times
    finished: bool = False  # the answer came with its end
    reset: int | None = None  # the code with which the server gave up its answer
    stopped: int | None = None  # the code with which the server stopped to read the request
    lost: str = ""  # how the connection ended while the answer was not complete
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _read: int = 0  # how many pieces read() has given

    @property
    def status(self) -> int:
        """The status; 0 before the head of the answer is here."""
        return int(dict(self.headers).get(b":status", b"0"))

    @property
    def body(self) -> bytes:
        """What is here of the body."""
        return b"".join(data for _, data in self.pieces)

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.finished or self.reset is not None or bool(self.lost)

    def notify(self) -> None:
        """Let those who wait look again."""
        self._news.set()

    async def until(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        """Wait for a condition on this exchange; BrokenError if it can no longer come true."""
        async with asyncio.timeout(seconds):
            while not condition():
                if self.over:
                    raise BrokenError(self.ending)
                self._news.clear()
                await self._news.wait()

    async def read(self, seconds: float = 10) -> list[tuple[float, bytes]]:
        """Return the pieces that are new, as soon as there are some; none at the clean end."""
        await self.until(lambda: len(self.pieces) > self._read or self.finished, seconds)
        pieces = self.pieces[self._read :]
        self._read += len(pieces)
        return pieces

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        if self.finished:
            return "finished"
        if self.reset is not None:
            return f"reset with 0x{self.reset:x}"
        return self.lost or "open"


class Connection(QuicConnectionProtocol):
    """One QUIC connection that speaks HTTP/3; without http it opens no streams by itself."""

    def __init__(self, quic: QuicConnection, *, http: bool = True) -> None:
        """Speak over this connection."""
        super().__init__(quic)
        self.quic = quic
        self.end = ""  # how the connection ended, in words
        self.exchanges: dict[int, Exchange] = {}
        self._speaks_http = http
        self._h3: H3Connection | None = None
        self._gone = False
        self._pings: dict[int, asyncio.Event] = {}

    @property
    def certificate(self) -> x509.Certificate:
        """The one that the server showed."""
        shown = self.quic.tls._peer_certificate
        assert shown is not None
        return shown

    def open(
        self,
        method: str,
        path: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        authority: str = "",
        more: bool = False,
    ) -> Exchange:
        """Send the head of a request; more says that a body follows by send()."""
        headers = [*headers]
        if not any(name == "user-agent" for name, _ in headers):
            headers.append(USER_AGENT)
        head = [
            (b":method", method.encode()),
            (b":scheme", b"https"),
            (b":authority", (authority or self.quic.configuration.server_name or "").encode()),
            (b":path", path.encode()),
            *((name.encode(), value.encode()) for name, value in headers),
        ]
        exchange = self.watch()
        assert self._h3 is not None
        self._h3.send_headers(exchange.stream_id, head, end_stream=not more)
        self.transmit()
        return exchange

    def send(self, exchange: Exchange, data: bytes, *, end: bool = False) -> None:
        """Send a piece of the request's body, unless the server no longer reads it."""
        if exchange.stopped is None and not self.end:
            frame = encode_uint_var(FrameType.DATA) + encode_uint_var(len(data)) + data
            self.raw(exchange.stream_id, frame, end=end)

    async def ask(  # noqa: PLR0913 - what a request may consist of
        self,
        method: str,
        path: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        authority: str = "",
        body: bytes | AsyncIterator[bytes] = b"",
        seconds: float = 10,
    ) -> Exchange:
        """Send a request and wait for the whole answer.

        A server may answer and stop reading (RFC 9114, section 4.1): that answer is complete.
        """
        exchange = self.open(method, path, headers=headers, authority=authority, more=bool(body))
        if isinstance(body, bytes):
            if body:
                self.send(exchange, body, end=True)
        else:
            async for piece in body:
                self.send(exchange, piece)
            self.send(exchange, b"", end=True)
        await exchange.until(lambda: exchange.finished, seconds)
        return exchange

    def watch(self, stream_id: int | None = None) -> Exchange:
        """Keep what comes on a stream; without a number, on the next one that we may open."""
        if stream_id is None:
            stream_id = self.quic.get_next_available_stream_id()
        exchange = self.exchanges[stream_id] = Exchange(stream_id, lost=self.end)
        if not self.end:  # so that the next one gets another number even before this one is used
            self.quic.send_stream_data(stream_id, b"")
        return exchange

    def raw(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        """Send bytes on a stream as they are; nothing happens once the server ended it."""
        self.act(stream_id, data, end)

    def open_raw(self, *, unidirectional: bool = False) -> int:
        """Return the number of a new stream."""
        number = self.quic.get_next_available_stream_id(is_unidirectional=unidirectional)
        self.quic.send_stream_data(number, b"")
        return number

    def act(
        self,
        stream_id: int,
        data: bytes = b"",
        end: bool = False,
        reset: int | None = None,
        stop: int | None = None,
    ) -> None:
        """Send bytes on a stream as they are, and then perhaps reset or stop it.

        What the stream's state forbids by now is left out, as the server may have ended it.
        """
        if self.end:
            return
        # RuntimeError: our side has ended; ValueError: the whole stream has.
        with contextlib.suppress(RuntimeError, ValueError):
            if data or end:
                self.quic.send_stream_data(stream_id, data, end)
        with contextlib.suppress(RuntimeError, ValueError):
            if reset is not None:
                self.quic.reset_stream(stream_id, reset)
        with contextlib.suppress(RuntimeError, ValueError):
            if stop is not None:
                self.quic.stop_stream(stream_id, stop)
        self.transmit()

    def give_up(self, exchange: Exchange, code: int = ErrorCode.H3_REQUEST_CANCELLED) -> None:
        """Reset our side of a stream and stop the server's."""
        self.act(exchange.stream_id, reset=code, stop=code)

    async def settled(self, seconds: float = 5) -> None:
        """Wait until the server has acknowledged what was sent, or the connection ended.

        Hypercorn acknowledges a packet after it has dealt with what was in it.
        """
        event = asyncio.Event()
        self._pings[id(event)] = event
        if not self.end:
            self.quic.send_ping(id(event))
            self.transmit()
            async with asyncio.timeout(seconds):
                await event.wait()

    async def move(self) -> int:
        """Go on from another local port, as behind a NAT that forgot us; return the port."""
        old = self._transport
        assert old is not None
        local, port = old.get_extra_info("sockname")[:2]
        new = _bind(local)
        # connection_made() takes the new transport for all that is sent from here on.
        await self._loop.create_datagram_endpoint(lambda: self, sock=new)
        old.close()
        self.quic.send_ping(port)
        self.transmit()
        return int(new.getsockname()[1])

    def vanish(self) -> None:
        """Fall silent without a word, as a client does whose battery is empty."""
        self._gone = True
        self._finish("we vanished")
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    def leave(self) -> None:
        """Say goodbye and give the socket back."""
        if not self._gone:
            self.close(ErrorCode.H3_NO_ERROR)
            self.vanish()

    def transmit(self) -> None:
        """Send what is to be sent, unless we vanished."""
        if not self._gone:
            super().transmit()

    def connection_lost(self, exc: Exception | None) -> None:
        """Do nothing: a transport that was left behind by move() ends here too."""

    def datagram_received(self, data: bytes | str, addr: object) -> None:
        """Notice at once when the server closes; aioquic tells three probe timeouts later."""
        if self._gone:
            return
        super().datagram_received(data, addr)
        event = self.quic._close_event
        if event is not None and self.quic._state is QuicConnectionState.DRAINING:
            kind = "application" if event.frame_type is None else "transport"
            self._finish(f"closed by the server: {kind} 0x{event.error_code:x}")

    def quic_event_received(self, event: QuicEvent) -> None:
        """Sort what came by streams."""
        if isinstance(event, ProtocolNegotiated) and self._speaks_http:
            self._h3 = H3Connection(self.quic)
        elif isinstance(event, ConnectionTerminated):
            self._finish(f"ended: {event.reason_phrase or hex(event.error_code)}")
        elif isinstance(event, StreamReset | StopSendingReceived):
            self._refused(event)
        elif isinstance(event, PingAcknowledged) and event.uid in self._pings:
            self._pings.pop(event.uid).set()
        items = self._h3.handle_event(event) if self._h3 else []
        for item in items:
            if isinstance(item, HeadersReceived | DataReceived):
                self._answered(item)
        if isinstance(event, StreamDataReceived):
            self._arrived(event)

    def _arrived(self, event: StreamDataReceived) -> None:
        """Notice a stream's end; without http, keep its bytes as they came."""
        exchange = self.exchanges.get(event.stream_id)
        if exchange is None:
            return
        if self._h3 is None and event.data:
            exchange.pieces.append((self._loop.time(), event.data))
        exchange.finished |= event.end_stream
        exchange.notify()

    def _answered(self, item: HeadersReceived | DataReceived) -> None:
        exchange = self.exchanges.get(item.stream_id)
        if exchange is None:
            return
        if isinstance(item, DataReceived):
            if item.data:
                exchange.pieces.append((self._loop.time(), item.data))
        elif exchange.headers:
            exchange.trailers = item.headers
        elif int(dict(item.headers)[b":status"]) >= SUCCESS:
            exchange.headers = item.headers
        exchange.finished |= item.stream_ended
        exchange.notify()

    def _refused(self, event: StreamReset | StopSendingReceived) -> None:
        exchange = self.exchanges.get(event.stream_id)
        if exchange is None:
            return
        if isinstance(event, StreamReset):
            exchange.reset = event.error_code
        else:
            exchange.stopped = event.error_code
        exchange.notify()

    def _finish(self, how: str) -> None:
        self.end = self.end or how
        for event in self._pings.values():
            event.set()
        for exchange in self.exchanges.values():
            if not exchange.over:
                exchange.lost = self.end
            exchange.notify()


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _bind(address: str) -> socket.socket:
    udp = socket.socket(_family(address), socket.SOCK_DGRAM)
    udp.setblocking(False)
    udp.bind((address, 0))
    return udp


@contextlib.asynccontextmanager
async def connect(  # noqa: PLR0913 - what a connection may differ in
    host: str = "echo.test",
    port: int = 443,
    *,
    address: str | None = None,
    local: str | None = None,
    root: str | None = LAB_ROOT,
    http: bool = True,
    seconds: float = 5,
) -> AsyncIterator[Connection]:
    """Connect to a host, or to an address under that host's name, and leave at the end.

    local is the address to send from. root is the file of the certificate to trust; None trusts
    all, for servers on this machine. Raises ConnectionError or TimeoutError if no handshake comes
    about in time.
    """
    loop = asyncio.get_running_loop()
    wanted = _family(local) if local else socket.AF_UNSPEC
    found = await loop.getaddrinfo(address or host, port, family=wanted, type=socket.SOCK_DGRAM)
    family, _, _, _, there = found[0]
    udp = _bind(local or ("::" if family == socket.AF_INET6 else "0.0.0.0"))
    configuration = QuicConfiguration(
        alpn_protocols=["h3"],
        server_name=host,
        cafile=root,
        verify_mode=ssl.CERT_REQUIRED if root else ssl.CERT_NONE,
    )
    _, connection = await loop.create_datagram_endpoint(
        lambda: Connection(QuicConnection(configuration=configuration), http=http), sock=udp
    )
    try:
        connection.connect(there)
        async with asyncio.timeout(seconds):
            await connection.wait_connected()
        yield connection
    finally:
        connection.leave()
