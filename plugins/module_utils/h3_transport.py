# Copyright: (c) 2026, codeintel.mcp_edge contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""HTTP/3 for httpx2, over aioquic."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import anyio
import httpx2
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import (
    NetworkAddress,
    QuicConnection,
    stream_is_unidirectional,
)
from aioquic.quic.events import (
    ConnectionTerminated,
    HandshakeCompleted,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)
from aioquic.quic.packet import QuicErrorCode
from ansible_collections.codeintel.mcp_edge.plugins.module_utils.h3_goaway import ControlStream

# RFC 9114, section 4.2: these speak of an HTTP/1.1 connection. ":authority" takes the host's place.
NOT_SENT = {
    b"connection",
    b"host",
    b"keep-alive",
    b"proxy-connection",
    b"transfer-encoding",
    b"upgrade",
}


class H3Transport(httpx2.AsyncBaseTransport):
    """Send requests over HTTP/3, those of one origin over one connection.

    Bodies of requests are handed to aioquic as they come, so the write timeout does not apply.
    """

    def __init__(
        self, *, ca_path: str | None = None, connect_to: tuple[str, int] | None = None
    ) -> None:
        """Trust the CAs of ca_path or the system's, and connect to connect_to or the URL's host."""
        system = ssl.get_default_verify_paths()
        self._cafile = ca_path or system.cafile
        self._capath = None if ca_path else system.capath
        self._connect_to = connect_to
        self._connections: dict[tuple[str, int], _Connection] = {}
        self._connecting = asyncio.Lock()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request, and answer as soon as the response's headers are there."""
        timeouts = request.extensions.get("timeout", {})
        connection = await self._connection(request.url, timeouts.get("connect"))
        return await connection.fetch(request, timeouts.get("read"))

    async def aclose(self) -> None:
        """Close all connections, telling the servers."""
        for connection in self._connections.values():
            connection.shut_down()
        self._connections.clear()

    async def _connection(self, url: httpx2.URL, seconds: float | None) -> _Connection:
        origin = (url.raw_host.decode(), url.port or 443)
        async with self._connecting:
            connection = self._connections.get(origin)
            if connection is None or not connection.usable:
                connection = self._connections[origin] = await self._open(*origin, seconds)
            return connection

    async def _open(self, server_name: str, port: int, seconds: float | None) -> _Connection:
        """Try the addresses one after the other; they share the time."""
        host, port = self._connect_to or (server_name, port)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except OSError as exc:
            raise httpx2.ConnectError(f"{host} cannot be resolved: {exc}") from exc
        failures: list[str] = []
        error: type[httpx2.TransportError] = httpx2.ConnectError
        for family, _, _, _, address in found:
            try:
                with _limit(
                    seconds and seconds / len(found), httpx2.ConnectTimeout, "no answer in time"
                ):
                    return await self._shake_hands(family, address, server_name)
            except (httpx2.TransportError, OSError) as exc:
                error = httpx2.ConnectTimeout if isinstance(exc, httpx2.ConnectTimeout) else error
                failures.append(f"{address[0]} UDP port {port}: {exc}")
        raise error("; ".join(failures))

    async def _shake_hands(
        self, family: socket.AddressFamily, address: NetworkAddress, server_name: str
    ) -> _Connection:
        configuration = QuicConfiguration(
            alpn_protocols=H3_ALPN,
            server_name=server_name,
            cafile=self._cafile,
            capath=self._capath,
        )
        # A connected socket, as only that reports that the port is closed.
        udp = socket.socket(family, socket.SOCK_DGRAM)
        try:
            udp.connect(address)
            _, connection = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: _Connection(QuicConnection(configuration=configuration)), sock=udp
            )
        except BaseException:
            udp.close()
            raise
        try:
            connection.connect(address)
            await connection.ready
        except BaseException:
            connection.shut_down()
            raise
        return connection


@dataclass
class _Exchange:
    """One request and what has come back for it."""

    events: asyncio.Queue[HeadersReceived | DataReceived | httpx2.TransportError] = field(
        default_factory=asyncio.Queue
    )
    sending: bool = True  # the request's end is not sent, and the server may still want it
    finished: bool = False  # nothing more is to come


class _Connection(QuicConnectionProtocol):
    """One QUIC connection, which hands each event to the request that it belongs to."""

    def __init__(self, quic: QuicConnection) -> None:
        super().__init__(quic)
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.usable = True
        self._h3 = H3Connection(quic)
        self._exchanges: dict[int, _Exchange] = {}
        self._control_streams: dict[int, ControlStream] = {}
        self._udp: asyncio.BaseTransport | None = None

    async def fetch(self, request: httpx2.Request, seconds: float | None) -> httpx2.Response:
        """Send a request and wait for the head of its response."""
        stream_id = self._quic.get_next_available_stream_id()
        exchange = self._exchanges[stream_id] = _Exchange()
        try:
            await self._send(stream_id, exchange, request)
            head = await self.receive(exchange, seconds)
            while isinstance(head, HeadersReceived) and _status(head) < httpx2.codes.OK:
                head = await self.receive(exchange, seconds)
            if not isinstance(head, HeadersReceived):
                raise httpx2.RemoteProtocolError("the stream ended without a response")
        except BaseException:
            self.release(stream_id)
            raise
        return httpx2.Response(
            _status(head),
            headers=[header for header in head.headers if not header[0].startswith(b":")],
            stream=_Body(self, stream_id, exchange, seconds, ended=head.stream_ended),
            extensions={"http_version": b"HTTP/3"},
        )

    async def receive(
        self, exchange: _Exchange, seconds: float | None
    ) -> HeadersReceived | DataReceived:
        """Return the next event of a request, or raise what ended it."""
        with _limit(seconds, httpx2.ReadTimeout, f"nothing came for {seconds} s"):
            event = await exchange.events.get()
        if isinstance(event, httpx2.TransportError):
            raise event
        return event

    def release(self, stream_id: int) -> None:
        """Forget a request, and cancel it if the server has not finished its answer."""
        exchange = self._exchanges.pop(stream_id, None)
        if exchange is not None and not exchange.finished:
            # aioquic may have dropped a stream that ended with headers which it could not decode.
            with contextlib.suppress(ValueError):
                self._quic.stop_stream(stream_id, ErrorCode.H3_REQUEST_CANCELLED)
        if exchange is not None and exchange.sending:
            self._quic.reset_stream(stream_id, ErrorCode.H3_REQUEST_CANCELLED)
        self.transmit()
        self._leave_if_done()

    def shut_down(self) -> None:
        """Tell the server goodbye and give the socket back."""
        self._fail_from(0, httpx2.ReadError, "the connection was closed")
        self.close(ErrorCode.H3_NO_ERROR)
        if self._udp is not None:
            self._udp.close()

    def _leave_if_done(self) -> None:
        if not self.usable and not self._exchanges:
            self.shut_down()

    async def _send(self, stream_id: int, exchange: _Exchange, request: httpx2.Request) -> None:
        exchange.sending = bool({"content-length", "transfer-encoding"} & set(request.headers))
        self._h3.send_headers(stream_id, _headers(request), end_stream=not exchange.sending)
        self._transmit_next()
        async for chunk in _chunks(request):
            if not exchange.sending or exchange.finished:
                return
            self._h3.send_data(stream_id, chunk, end_stream=False)
            self._transmit_next()
        if exchange.sending and not exchange.finished:
            exchange.sending = False
            self._h3.send_data(stream_id, b"", end_stream=True)
            self._transmit_next()

    def _transmit_next(self) -> None:
        """Send when this task pauses, so that a small request goes out in one datagram."""
        asyncio.get_running_loop().call_soon(self.transmit)

    def _fail_from(self, first: int, error: type[httpx2.TransportError], message: str) -> None:
        """Let fail the requests from a stream's number on; their readers see it in its order."""
        self.usable = False
        for stream_id, exchange in self._exchanges.items():
            if stream_id >= first and not exchange.finished:
                exchange.finished = True
                exchange.events.put_nowait(error(message))

    def quic_event_received(self, event: QuicEvent) -> None:
        """Sort what has come in."""
        if isinstance(event, HandshakeCompleted) and not self.ready.done():
            self.ready.set_result(None)
        elif isinstance(event, ConnectionTerminated):
            reason = _reason(event)
            self._fail_from(0, httpx2.RemoteProtocolError, f"the connection ended: {reason}")
            if not self.ready.done():
                self.ready.set_exception(httpx2.ConnectError(f"the handshake failed: {reason}"))
            self._leave_if_done()
        elif isinstance(event, StopSendingReceived) and event.stream_id in self._exchanges:
            self._exchanges[event.stream_id].sending = False
        elif isinstance(event, StreamReset) and event.stream_id in self._exchanges:
            exchange = self._exchanges[event.stream_id]
            exchange.finished = True
            code = _name(ErrorCode, event.error_code)
            exchange.events.put_nowait(
                httpx2.RemoteProtocolError(f"the server reset the stream: {code}")
            )
        elif isinstance(event, StreamDataReceived) and stream_is_unidirectional(event.stream_id):
            control = self._control_streams.setdefault(event.stream_id, ControlStream())
            first_refused = control.feed(event.data)
            if first_refused is not None:
                self._fail_from(
                    first_refused,
                    httpx2.RemoteProtocolError,
                    "the server is going away (GOAWAY) and did not take this request",
                )
                self._leave_if_done()
        for h3_event in self._h3.handle_event(event):
            self._h3_event_received(h3_event)

    def _h3_event_received(self, event: H3Event) -> None:
        if isinstance(event, (HeadersReceived, DataReceived)):
            exchange = self._exchanges.get(event.stream_id)
            if exchange is not None:
                exchange.finished = exchange.finished or event.stream_ended
                exchange.events.put_nowait(event)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket, to close it."""
        super().connection_made(transport)
        self._udp = transport

    def error_received(self, exc: Exception) -> None:
        """Give up a handshake with a closed port; later, lost datagrams are QUIC's to repeat."""
        if not self.ready.done():
            self.ready.set_exception(httpx2.ConnectError(str(exc)))

    def transmit(self) -> None:
        """Send what is due, unless the socket is closed: aioquic's timers outlive it."""
        if self._udp is not None and not self._udp.is_closing():
            super().transmit()


class _Body(httpx2.AsyncByteStream):
    """The body of a response, as it comes in."""

    def __init__(
        self,
        connection: _Connection,
        stream_id: int,
        exchange: _Exchange,
        seconds: float | None,
        *,
        ended: bool,
    ) -> None:
        self._connection = connection
        self._stream_id = stream_id
        self._exchange = exchange
        self._seconds = seconds
        self._ended = ended

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while not self._ended:
            event = await self._connection.receive(self._exchange, self._seconds)
            self._ended = event.stream_ended
            if isinstance(event, DataReceived) and event.data:  # else these are trailers
                yield event.data

    async def aclose(self) -> None:
        self._connection.release(self._stream_id)


@contextlib.contextmanager
def _limit(
    seconds: float | None, error: type[httpx2.TimeoutException], message: str
) -> Iterator[None]:
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError as exc:
        raise error(message) from exc


async def _chunks(request: httpx2.Request) -> AsyncIterator[bytes]:
    if not isinstance(request.stream, httpx2.AsyncByteStream):
        raise TypeError("an asynchronous client needs an asynchronous body")
    async for chunk in request.stream:
        yield chunk


def _headers(request: httpx2.Request) -> list[tuple[bytes, bytes]]:
    headers = [(name.lower(), value) for name, value in request.headers.raw]
    return [
        (b":method", request.method.encode()),
        (b":scheme", request.url.raw_scheme),
        (b":authority", request.headers["host"].encode()),
        (b":path", request.url.raw_path),
        *(header for header in headers if header[0] not in NOT_SENT),
    ]


def _status(head: HeadersReceived) -> int:
    return int(dict(head.headers)[b":status"])


def _reason(event: ConnectionTerminated) -> str:
    """Say why a connection ended; a frame type tells QUIC's error codes from HTTP/3's."""
    code = _name(ErrorCode if event.frame_type is None else QuicErrorCode, event.error_code)
    return f"{event.reason_phrase} ({code})" if event.reason_phrase else code


def _name(codes: type[ErrorCode] | type[QuicErrorCode], code: int) -> str:
    return codes(code).name if code in set(codes) else f"error {code:#x}"
