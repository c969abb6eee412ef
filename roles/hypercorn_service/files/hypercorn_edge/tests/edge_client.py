"""An HTTP/3 client that can misbehave."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived, StreamReset

Headers = list[tuple[bytes, bytes]]


class ResetError(Exception):
    """The server reset the stream. The argument is the error code."""


class TerminatedError(Exception):
    """The server closed the connection. The argument is the error code."""


_CONTROL = 3  # the first stream that a server opens


class Client(QuicConnectionProtocol):
    """One connection. `deaf` has it drop what the server sends, `mute` send nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.h3 = H3Connection(self._quic)
        self.events: dict[int, asyncio.Queue[Any]] = {}
        self.terminated: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.deaf = self.mute = False
        self.control = b""  # what the server said on its control stream

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        if not self.deaf:
            super().datagram_received(data, addr)

    def transmit(self) -> None:
        if not self.mute:
            super().transmit()

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived) and event.stream_id == _CONTROL:
            self.control += event.data
        if isinstance(event, ConnectionTerminated):
            if not self.terminated.done():
                self.terminated.set_result(event.error_code)
            for queue in self.events.values():
                queue.put_nowait(TerminatedError(event.error_code))
        elif isinstance(event, StreamReset):
            self.queue(event.stream_id).put_nowait(ResetError(event.error_code))
        for http_event in self.h3.handle_event(event):
            stream_id = getattr(http_event, "stream_id", 0)
            self.queue(stream_id).put_nowait(http_event)

    def queue(self, stream_id: int) -> asyncio.Queue[Any]:
        return self.events.setdefault(stream_id, asyncio.Queue())

    async def next(self, stream_id: int) -> HeadersReceived | DataReceived:
        """Return the next event of a stream; raise ResetError or TerminatedError."""
        event = await self.queue(stream_id).get()
        if isinstance(event, Exception):
            raise event
        assert isinstance(event, HeadersReceived | DataReceived)
        return event

    def begin(
        self, path: str, method: str = "GET", headers: Headers | None = None, *, end: bool = False
    ) -> int:
        """Send the head of a request; return the stream's ID."""
        head = [(b":method", method.encode()), (b":scheme", b"https")]
        head += [(b":authority", b"localhost"), (b":path", path.encode())]
        return self.begin_raw(head + (headers or []), end=end)

    def begin_raw(self, headers: Headers, *, end: bool = False) -> int:
        stream_id = self._quic.get_next_available_stream_id()
        self.h3.send_headers(stream_id, headers, end)
        self.transmit()
        return stream_id

    def send(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        self.h3.send_data(stream_id, data, end)
        self.transmit()

    async def head(self, stream_id: int) -> dict[str, str]:
        event = await self.next(stream_id)
        assert isinstance(event, HeadersReceived)
        return {name.decode(): value.decode() for name, value in event.headers}

    async def body(self, stream_id: int) -> bytes:
        """Return the body, up to its end."""
        pieces = []
        while True:
            event = await self.next(stream_id)
            if isinstance(event, DataReceived):
                pieces.append(event.data)
            if event.stream_ended:
                return b"".join(pieces)

    async def fetch(
        self, path: str, method: str = "GET", body: bytes = b"", headers: Headers | None = None
    ) -> tuple[dict[str, str], bytes]:
        """Make a request; return the head and body of its response."""
        stream_id = self.begin(path, method, headers, end=not body)
        if body:
            self.send(stream_id, body, end=True)
        return await self.head(stream_id), await self.body(stream_id)

    async def json(self, path: str) -> Any:
        return json.loads((await self.fetch(path))[1])


@asynccontextmanager
async def h3(host: str, port: int, seconds: float = 20, **options: Any) -> AsyncIterator[Client]:
    """Connect; raises ConnectionError where nothing answers within `seconds`."""
    configuration = QuicConfiguration(
        alpn_protocols=["h3"],
        verify_mode=ssl.CERT_NONE,
        server_name="localhost",
        **options,
    )
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(seconds):
                client = await stack.enter_async_context(
                    connect(host, port, configuration=configuration, create_protocol=Client)
                )
        except TimeoutError:
            raise ConnectionError("no answer") from None
        assert isinstance(client, Client)
        yield client


async def answers(host: str, port: int, seconds: float = 1) -> bool:
    """Say whether the server answers a new HTTP/3 client within `seconds`."""
    try:
        async with asyncio.timeout(seconds), h3(host, port, seconds) as client:
            return (await client.fetch("/"))[1] == b"hello"
    except (ConnectionError, TimeoutError, TerminatedError, ResetError):
        return False
