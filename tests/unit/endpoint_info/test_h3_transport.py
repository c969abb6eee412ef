"""The HTTP/3 transport against a server that does as the path says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx2
import pytest
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StopSendingReceived, StreamReset
from ansible_collections.codeintel.mcp_edge.plugins.module_utils.h3_transport import H3Transport

if TYPE_CHECKING:
    from ..authority import Authority  # noqa: TID252 - the tests are no package

NAME = "edge.test"
OK = (b":status", b"200")
SERVER_CONTROL_STREAM = 3
SECOND_REQUEST = 4


def goaway(first_refused: int) -> bytes:
    """Return the frame of type 7 that refuses requests from a small number on."""
    return bytes([7, 1, first_refused])


@dataclass
class Seen:
    """What the server has seen."""

    connections: list[ServerConnection] = field(default_factory=list)
    requests: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    begun: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    resets: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    stops: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    goodbyes: asyncio.Queue[int] = field(default_factory=asyncio.Queue)


class ServerConnection(QuicConnectionProtocol):
    def __init__(self, quic: QuicConnection, seen: Seen) -> None:
        super().__init__(quic)
        self.h3 = H3Connection(quic)
        self.seen = seen
        self.paths: dict[int, str] = {}
        self.bodies: dict[int, bytes] = {}
        seen.connections.append(self)

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamReset):
            self.seen.resets.put_nowait(event.error_code)
        if isinstance(event, StopSendingReceived):
            self.seen.stops.put_nowait(event.error_code)
        if isinstance(event, ConnectionTerminated):
            self.seen.goodbyes.put_nowait(event.error_code)
        for h3_event in self.h3.handle_event(event):
            if isinstance(h3_event, HeadersReceived):
                headers = dict(h3_event.headers)
                path = headers[b":path"].decode()
                self.paths[h3_event.stream_id] = path
                self.bodies[h3_event.stream_id] = b""
                self.seen.requests[path] = headers
                self.seen.begun.put_nowait(path)
                self.begin(h3_event.stream_id, path)
            if isinstance(h3_event, DataReceived):
                self.bodies[h3_event.stream_id] += h3_event.data
            if isinstance(h3_event, HeadersReceived | DataReceived) and h3_event.stream_ended:
                self.finish(h3_event.stream_id, self.paths[h3_event.stream_id])

    def begin(self, stream_id: int, path: str) -> None:
        """Do what the path asks for before the request's body has come."""
        if path == "/early":
            self.answer(stream_id, b"no, thanks", status=b"404")
            self._quic.stop_stream(stream_id, ErrorCode.H3_NO_ERROR)
        elif path == "/reset":
            self._quic.reset_stream(stream_id, ErrorCode.H3_INTERNAL_ERROR)
        elif path == "/close":
            self._quic.close(error_code=ErrorCode.H3_EXCESSIVE_LOAD, reason_phrase="too much")
        elif path == "/goaway":
            # In two pieces, as frames may come.
            frame = goaway(SECOND_REQUEST)
            self._quic.send_stream_data(SERVER_CONTROL_STREAM, frame[:1])
            self.transmit()
            self._quic.send_stream_data(SERVER_CONTROL_STREAM, frame[1:])
        elif path == "/endless":
            self.h3.send_headers(stream_id, [OK])
            self.h3.send_data(stream_id, b"first", end_stream=False)

    def finish(self, stream_id: int, path: str) -> None:
        """Do what the path asks for with the whole request."""
        if path.startswith(("/echo", "/goaway")):
            self.answer(stream_id, self.bodies[stream_id])
        elif path == "/connection":
            self.answer(stream_id, b"", (b"connection", b"keep-alive"))
        elif path == "/interim":
            self.h3.send_headers(stream_id, [(b":status", b"103"), (b"link", b"</a>")])
            self.answer(stream_id, b"final")
        elif path == "/trailers":
            self.h3.send_headers(stream_id, [OK])
            self.h3.send_data(stream_id, b"body", end_stream=False)
            self.h3.send_headers(stream_id, [(b"x-sum", b"4")], end_stream=True)
        elif path == "/nothing":
            self._quic.send_stream_data(stream_id, b"", end_stream=True)

    def answer(
        self,
        stream_id: int,
        body: bytes,
        *headers: tuple[bytes, bytes],
        status: bytes = b"200",
    ) -> None:
        self.h3.send_headers(stream_id, [(b":status", status), *headers])
        self.h3.send_data(stream_id, body, end_stream=True)


class Case:
    """A server and a client for it."""

    def __init__(self, authority: Authority) -> None:
        self.ca_path = str(authority.path)
        self.pair = authority.issue(NAME)
        self.seen = Seen()

    @asynccontextmanager
    async def client(self, seconds: float = 5.0) -> AsyncIterator[httpx2.AsyncClient]:
        configuration = QuicConfiguration(alpn_protocols=H3_ALPN, is_client=False)
        configuration.load_cert_chain(*self.pair)
        server, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: QuicServer(
                configuration=configuration,
                create_protocol=lambda quic, **_: ServerConnection(quic, self.seen),
            ),
            local_addr=("127.0.0.1", 0),
        )
        port = server.get_extra_info("sockname")[1]
        transport = H3Transport(ca_path=self.ca_path, connect_to=("127.0.0.1", port))
        try:
            async with httpx2.AsyncClient(
                base_url=f"https://{NAME}", transport=transport, timeout=seconds, trust_env=False
            ) as client:
                yield client
        finally:
            server.close()


@pytest.fixture
def case(authority: Authority) -> Case:
    return Case(authority)


def test_request_and_response(case: Case) -> None:
    async def run() -> None:
        async with case.client() as client:
            response = await client.post("/echo?a=1", content=b"hello", headers={"X-Mixed": "Case"})
            assert response.status_code == 200
            assert response.http_version == "HTTP/3"
            assert response.text == "hello"
        headers = case.seen.requests["/echo?a=1"]
        assert headers[b":method"] == b"POST"
        assert headers[b":authority"] == NAME.encode()
        assert headers[b"x-mixed"] == b"Case"
        assert headers[b"content-length"] == b"5"
        assert not {b"host", b"connection"} & set(headers)

    asyncio.run(run())


def test_one_connection_for_many_requests(case: Case) -> None:
    async def run() -> None:
        async with case.client() as client:
            bodies = [bytes([n]) * 50_000 for n in range(10)]
            responses = await asyncio.gather(*(client.post("/echo", content=b) for b in bodies))
            assert [response.content for response in responses] == bodies
        assert len(case.seen.connections) == 1

    asyncio.run(run())


def test_body_of_unknown_length(case: Case) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async def run() -> None:
        async with case.client() as client:
            assert (await client.post("/echo", content=chunks())).text == "one two"
        assert b"transfer-encoding" not in case.seen.requests["/echo"]

    asyncio.run(run())


def test_interim_response_and_trailers(case: Case) -> None:
    async def run() -> None:
        async with case.client() as client:
            assert (await client.get("/interim")).text == "final"
            assert (await client.get("/trailers")).text == "body"

    asyncio.run(run())


def test_body_comes_as_it_is_sent_and_can_be_left(case: Case) -> None:
    async def run() -> None:
        async with case.client() as client:
            async with client.stream("GET", "/endless") as response:
                async for chunk in response.aiter_raw():
                    assert chunk == b"first"
                    break
            async with asyncio.timeout(2):
                assert await case.seen.stops.get() == ErrorCode.H3_REQUEST_CANCELLED
            assert (await client.get("/echo")).status_code == 200

    asyncio.run(run())


def test_early_answer_ends_the_upload(case: Case) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0)

    async def run() -> None:
        async with case.client() as client:
            response = await client.post("/early", content=endless())
            assert (response.status_code, response.text) == (404, "no, thanks")
            assert (await client.get("/echo")).status_code == 200

    asyncio.run(run())


def test_silence_is_a_read_timeout(case: Case) -> None:
    async def run() -> None:
        async with case.client(seconds=0.2) as client:
            with pytest.raises(httpx2.ReadTimeout):
                await client.get("/silent")
            async with client.stream("GET", "/endless") as response:
                with pytest.raises(httpx2.ReadTimeout):
                    await response.aread()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/reset", "the server reset the stream: H3_INTERNAL_ERROR"),
        ("/nothing", "the stream ended without a response"),
        ("/close", "the connection ended: too much (H3_EXCESSIVE_LOAD)"),
        ("/connection", "Header b'connection' is connection-specific (H3_MESSAGE_ERROR)"),
    ],
)
def test_broken_answers(case: Case, path: str, message: str) -> None:
    async def run() -> None:
        async with case.client() as client:
            with pytest.raises(httpx2.RemoteProtocolError) as caught:
                await client.get(path)
            assert message in str(caught.value)
            # The next request gets a new connection if it needs one.
            assert (await client.get("/echo")).status_code == 200

    asyncio.run(run())


def test_goaway(case: Case) -> None:
    async def run() -> None:
        async with case.client() as client:
            accepted, refused = await asyncio.gather(
                client.get("/goaway"), client.get("/silent"), return_exceptions=True
            )
            assert isinstance(accepted, httpx2.Response)
            assert accepted.status_code == 200
            assert isinstance(refused, httpx2.RemoteProtocolError)
            assert "GOAWAY" in str(refused)
            assert (await client.get("/echo")).status_code == 200
            assert len(case.seen.connections) == 2

    asyncio.run(run())


def test_goodbye(case: Case) -> None:
    async def run() -> None:
        async with case.client() as client:
            await client.get("/echo")
            await client.aclose()
            async with asyncio.timeout(2):
                assert await case.seen.goodbyes.get() == ErrorCode.H3_NO_ERROR

    asyncio.run(run())


def test_cancelled_upload_is_reset(case: Case) -> None:
    async def stuck() -> AsyncIterator[bytes]:
        yield b"begun"
        await asyncio.Event().wait()

    async def run() -> None:
        async with case.client() as client:
            upload = asyncio.create_task(client.post("/echo", content=stuck()))
            assert await case.seen.begun.get() == "/echo"
            upload.cancel()
            async with asyncio.timeout(2):
                assert await case.seen.resets.get() == ErrorCode.H3_REQUEST_CANCELLED

    asyncio.run(run())


def test_no_answer_to_the_handshake() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        udp, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        )
        transport = H3Transport(connect_to=("127.0.0.1", udp.get_extra_info("sockname")[1]))
        async with httpx2.AsyncClient(transport=transport, timeout=0.2) as client:
            with pytest.raises(httpx2.ConnectTimeout, match="no answer in time"):
                await client.get(f"https://{NAME}/")
        udp.close()

    asyncio.run(run())


def test_unknown_host() -> None:
    async def run() -> None:
        async with httpx2.AsyncClient(transport=H3Transport()) as client:
            with pytest.raises(httpx2.ConnectError, match="cannot be resolved"):
                await client.get("https://nowhere.invalid/")

    asyncio.run(run())
