"""Which requests a server that says goodbye has taken, by what it says on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import h2.config
import h2.connection
import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ProtocolNegotiated, StreamDataReceived, StreamReset
from h2.errors import ErrorCodes
from hypothesis import given
from hypothesis import strategies as st
from steady import h1, h3
from steady import h2 as steady_h2
from steady.exchange import Exchange, FailedError, Request, UntakenError

ASK = Request("GET", "/")
HEAD = [(":status", "200")]
GOAWAY_4 = bytes.fromhex("00 04 00 07 01 04".replace(" ", ""))  # control stream: settings, goaway


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True


def on_a_loop(test: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await test()

    asyncio.run(run())


async def outcome(exchange: Exchange) -> str:
    try:
        async with asyncio.timeout(1):
            await exchange.head()
            return (await exchange.body()).decode()
    except (FailedError, UntakenError) as error:
        return type(error).__name__


def h2_pair() -> tuple[steady_h2.Connection, Wire, h2.connection.H2Connection]:
    connection, wire = steady_h2.Connection("edge.test"), Wire()
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    server.initiate_connection()
    connection.connection_made(wire)
    connection.data_received(server.data_to_send())
    return connection, wire, server


@given(cut=st.integers(1, 60))
def test_h2_finishes_what_it_has_taken_and_no_more(cut: int) -> None:
    async def test() -> None:
        connection, wire, server = h2_pair()
        first, second = connection.send(ASK), connection.send(ASK)
        server.receive_data(wire.written)
        server.send_headers(1, HEAD)
        server.send_data(1, b"taken", end_stream=True)
        answer = server.data_to_send()
        server.close_connection(last_stream_id=1)
        # In pieces, as TCP cuts anywhere.
        goodbye = server.data_to_send() + answer
        connection.data_received(goodbye[:cut])
        connection.data_received(goodbye[cut:])
        assert await outcome(first) == "taken"
        assert await outcome(second) == "UntakenError"
        assert not connection.usable
        assert wire.closed

    on_a_loop(test)


@pytest.mark.parametrize(
    ("code", "what"),
    [(ErrorCodes.REFUSED_STREAM, "UntakenError"), (ErrorCodes.INTERNAL_ERROR, "FailedError")],
)
def test_h2_resets_are_told_apart(code: ErrorCodes, what: str) -> None:
    async def test() -> None:
        connection, wire, server = h2_pair()
        first, second = connection.send(ASK), connection.send(ASK)
        server.receive_data(wire.written)
        server.reset_stream(1, code)
        server.send_headers(3, HEAD, end_stream=True)
        connection.data_received(server.data_to_send())
        assert await outcome(first) == what
        assert await outcome(second) == ""
        assert connection.usable

    on_a_loop(test)


def h3_connection() -> h3.Connection:
    quic = QuicConnection(configuration=QuicConfiguration(alpn_protocols=["h3"]))
    connection = h3.Connection(quic, "edge.test")
    quic.connect(("127.0.0.1", 9), now=0)
    quic._remote_max_streams_bidi = 9
    connection.quic_event_received(ProtocolNegotiated("h3"))
    return connection


def test_h3_finishes_what_it_has_taken_and_no_more() -> None:
    async def test() -> None:
        connection = h3_connection()
        first, second = connection.send(ASK), connection.send(ASK)
        connection.quic_event_received(StreamDataReceived(GOAWAY_4, False, stream_id=3))
        assert await outcome(second) == "UntakenError"
        assert not connection.usable
        assert not first.over
        answer = bytes.fromhex("01 03 0000d9 00 05") + b"taken"  # HEADERS :status 200, DATA
        connection.quic_event_received(StreamDataReceived(answer, True, stream_id=0))
        assert await outcome(first) == "taken"

    on_a_loop(test)


@pytest.mark.parametrize(("code", "what"), [(0x10B, "UntakenError"), (0x102, "FailedError")])
def test_h3_resets_are_told_apart(code: int, what: str) -> None:
    async def test() -> None:
        connection = h3_connection()
        exchange = connection.send(ASK)
        connection.quic_event_received(StreamReset(code, stream_id=0))
        assert await outcome(exchange) == what
        assert connection.usable

    on_a_loop(test)


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("answer", "what", "usable"),
    [
        (OK + b"Content-Length: 2\r\n\r\nab", "ab", True),
        (OK + b"Content-Length: 2\r\nConnection: close\r\n\r\nab", "ab", False),
        (OK + b"Content-Length: 9\r\n\r\nab", "FailedError", False),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", "ab", True),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", "FailedError", False),
        (OK + b"Connection: close\r\n\r\nab", "ab", False),
        (b"", "FailedError", False),
    ],
)
def test_h1_answers_are_whole_or_failures(answer: bytes, what: str, usable: bool) -> None:
    async def test() -> None:
        connection, wire = h1.Connection("edge.test"), Wire()
        connection.connection_made(wire)
        exchange = connection.send(ASK)
        if answer:
            connection.data_received(answer)
        assert connection.usable == usable or not exchange.over
        connection.eof_received()
        assert await outcome(exchange) == what
        assert not connection.usable

    on_a_loop(test)


def test_h1_uses_no_connection_that_the_server_closed() -> None:
    async def test() -> None:
        connection = h1.Connection("edge.test")
        connection.connection_made(Wire())
        assert connection.usable
        connection.eof_received()
        assert not connection.usable
        assert not cast("bool", connection.open)

    on_a_loop(test)
