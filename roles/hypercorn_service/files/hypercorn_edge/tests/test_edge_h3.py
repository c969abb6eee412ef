"""HTTP/3 as clients that mean well need it, from Hypercorn's own server and from ours."""

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.h3.connection import ErrorCode
from aioquic.quic.packet import QuicPacketType, encode_quic_version_negotiation, pull_quic_header

from .edge_client import Client, ResetError, TerminatedError, answers, h3
from .edge_server import Server, Shared, serving

BOTH = pytest.mark.parametrize("kind", ["stock", "edge"])
CONNECT = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"https")]
CONNECT += [(b":authority", b"localhost"), (b":path", b"/"), (b"sec-websocket-version", b"13")]


async def becomes(get: Callable[[], Any], wanted: object, seconds: float = 3) -> bool:
    """Say whether what the coroutine `get` returns became `wanted` in time."""
    deadline = time.monotonic() + seconds
    while await get() != wanted:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


@BOTH
def test_an_app_that_does_not_read_stalls_only_its_own_client(tmp_path: Path, kind: str) -> None:
    """See https://github.com/pgjones/hypercorn/issues/329 ."""

    async def scenario(server: Server) -> None:
        async with h3(server.host, server.port) as client:
            stream_id = client.begin("/stuck", "POST")
            served = []
            for _ in range(4):  # the stock server drops much of what comes at once
                client.send(stream_id, b"x" * 40_000)
                served.append(await answers(server.host, server.port))
            assert all(served) == (kind == "edge"), served

    with serving(tmp_path, kind) as server:
        asyncio.run(scenario(server))


def stop(client: Client, stream_id: int) -> None:
    client._quic.stop_stream(stream_id, ErrorCode.H3_REQUEST_CANCELLED)
    client.transmit()


def reset(client: Client, stream_id: int) -> None:
    client._quic.reset_stream(stream_id, ErrorCode.H3_REQUEST_CANCELLED)
    client.transmit()


def close(client: Client, _stream_id: int) -> None:
    client.close(ErrorCode.H3_NO_ERROR)


def vanish(client: Client, _stream_id: int) -> None:
    client.deaf = client.mute = True


@BOTH
def test_apps_end_when_their_clients_have_gone(tmp_path: Path, kind: str) -> None:
    """See https://github.com/pgjones/hypercorn/pull/201 and issues/352 ."""

    async def scenario(server: Server) -> int:
        async with AsyncExitStack() as stack:
            other = await stack.enter_async_context(h3(server.host, server.port))

            async def streams() -> int:
                return int((await other.json("/live"))["streams"])

            gone = []
            for leave in (stop, reset, close, vanish):
                # The idle timeout is the smaller of both sides' ones.
                client = await stack.enter_async_context(
                    h3(server.host, server.port, idle_timeout=1)
                )
                stream_id = client.begin("/events", end=leave is not reset)
                await client.head(stream_id)
                gone.append((leave, client, stream_id))
            assert await streams() == 4
            for leave, client, stream_id in gone:
                leave(client, stream_id)
            await becomes(streams, 0, 6 if kind == "edge" else 3)
            left = await streams()
            for _, client, _ in gone:
                client.deaf = client.mute = False
            return left

    with serving(tmp_path, kind) as server:
        assert asyncio.run(scenario(server)) == (0 if kind == "edge" else 4)


@BOTH
def test_connection_headers_do_not_reach_http3(shared: Shared, kind: str) -> None:
    async def scenario(server: Server) -> dict[str, str]:
        async with asyncio.timeout(5), h3(server.host, server.port) as client:
            return (await client.fetch("/hop"))[0]

    server = shared(kind)
    if kind == "stock":  # the client closes the connection
        with pytest.raises(TerminatedError, match=str(int(ErrorCode.H3_MESSAGE_ERROR))):
            asyncio.run(scenario(server))
    else:
        head = asyncio.run(scenario(server))
        assert head["x-kept"] == "1"
        assert head.keys().isdisjoint({"connection", "keep-alive"})


@BOTH
def test_own_error_responses_fit_http3(tmp_path: Path, kind: str) -> None:
    async def scenario(server: Server) -> str:
        async with asyncio.timeout(5), h3(server.host, server.port) as client:
            return (await client.fetch("/"))[0][":status"]

    with serving(tmp_path, kind, server_names=["example.com"]) as server:
        if kind == "stock":
            with pytest.raises(TerminatedError):
                asyncio.run(scenario(server))
        else:
            assert asyncio.run(scenario(server)) == "404"


@BOTH
def test_an_ipv6_client_has_two_parts(tmp_path: Path, kind: str) -> None:
    async def scenario(server: Server) -> list[object]:
        async with asyncio.timeout(5), h3(server.host, server.port) as client:
            return list((await client.json("/scope"))["client"])

    with serving(tmp_path, kind, family=socket.AF_INET6) as server:
        client = asyncio.run(scenario(server))
        assert client[0] == "::1"
        assert len(client) == (2 if kind == "edge" else 4)


@BOTH
def test_version_negotiation_is_not_answered_by_the_same(shared: Shared, kind: str) -> None:
    data = encode_quic_version_negotiation(
        source_cid=b"s" * 8, destination_cid=b"d" * 8, supported_versions=[1] * 300
    )
    server = shared(kind)
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.settimeout(0.5)
        sender.sendto(data, (server.host, server.port))
        if kind == "stock":
            assert sender.recv(2000)
        else:
            with pytest.raises(TimeoutError):
                sender.recv(2000)
            # One of an unknown version is; but only if it is as long as an Initial must be.
            unknown = b"\xc0\x1a\x2a\x3a\x4a\x08" + b"d" * 8 + b"\x08" + b"s" * 8
            sender.sendto(unknown.ljust(1199, b"\0"), (server.host, server.port))
            sender.sendto(unknown.ljust(1200, b"\0"), (server.host, server.port))
            answer = pull_quic_header(Buffer(data=sender.recv(2000)), host_cid_length=8)
            assert answer.packet_type == QuicPacketType.VERSION_NEGOTIATION
            with pytest.raises(TimeoutError):
                sender.recv(2000)


@BOTH
def test_trailers_of_responses(shared: Shared, kind: str) -> None:
    async def scenario(server: Server) -> None:
        async with asyncio.timeout(2), h3(server.host, server.port) as client:
            stream_id = client.begin("/trailers", headers=[(b"te", b"trailers")], end=True)
            await client.head(stream_id)
            assert await client.body(stream_id) == b"body"

    server = shared(kind)
    if kind == "stock":
        with pytest.raises(TimeoutError):
            asyncio.run(scenario(server))
    else:
        asyncio.run(scenario(server))


def test_a_response_that_breaks_off_is_reset(shared: Shared) -> None:
    async def scenario(server: Server) -> None:
        async with asyncio.timeout(5), h3(server.host, server.port) as client:
            stream_id = client.begin("/fails", end=True)
            with pytest.raises(ResetError, match=str(int(ErrorCode.H3_INTERNAL_ERROR))):
                await client.head(stream_id)
                await client.body(stream_id)

    server = shared("edge")
    asyncio.run(scenario(server))


def test_transfers_are_whole_and_flow_is_controlled(shared: Shared) -> None:
    """20 MB down, 6 MB up; neither a slow reader nor a slow client is given more than it takes."""

    async def scenario(server: Server) -> None:
        async with (
            asyncio.timeout(40),
            h3(server.host, server.port) as client,
            h3(server.host, server.port) as deaf,
        ):
            expected = b"".join(bytes([number]) * 100_000 for number in range(200))
            assert (await client.fetch("/large"))[1] == expected
            # An app that reads late: the client is stopped, then let go on.
            stream_id = client.begin("/late", "POST")
            client.send(stream_id, expected[:6_000_000], end=True)
            await asyncio.sleep(0.8)
            sent = client._quic._streams[stream_id].sender.highest_offset
            assert 500_000 < sent < 4_000_000
            await client.head(stream_id)
            assert await client.body(stream_id) == b"6000000"

            # A client that does not read: its app waits, the others are served.
            deaf.begin("/large", end=True)
            deaf.deaf = True

            async def sent_pieces() -> int:
                return int((await client.json("/live"))["sent"])

            await asyncio.sleep(0.5)
            pieces = await sent_pieces()
            assert 1 < pieces < 15
            await asyncio.sleep(0.5)
            assert await sent_pieces() == pieces
            deaf.deaf = False
            deaf.close(ErrorCode.H3_NO_ERROR)

            async def streams() -> int:
                return int((await client.json("/live"))["streams"])

            assert await becomes(streams, 0)

    server = shared("edge")
    asyncio.run(scenario(server))


def test_what_one_client_leaves_unread_is_bounded(shared: Shared) -> None:
    async def scenario(server: Server) -> None:
        async with asyncio.timeout(20), h3(server.host, server.port) as client:
            for _ in range(30):
                client.send(client.begin("/stuck", "POST"), b"x" * 900_000)
            assert await client.terminated == ErrorCode.H3_EXCESSIVE_LOAD
            assert await answers(server.host, server.port, 3)

    server = shared("edge")
    asyncio.run(scenario(server))


def test_gaps_are_bounded(shared: Shared) -> None:
    """Data behind a gap is held by QUIC, where no app sees it."""

    async def scenario(server: Server) -> None:
        async with asyncio.timeout(20), h3(server.host, server.port) as client:
            for _ in range(30):
                stream_id = client._quic.get_next_available_stream_id()
                client._quic.send_stream_data(stream_id, b"\0" * 900_000)
                # As if the first byte had been sent.
                client._quic._streams[stream_id].sender._pending.subtract(0, 1)
            client.transmit()
            assert await client.terminated == ErrorCode.H3_EXCESSIVE_LOAD
            assert await answers(server.host, server.port, 3)

    server = shared("edge")
    asyncio.run(scenario(server))


def test_websockets(shared: Shared) -> None:
    async def scenario(server: Server) -> None:
        async with asyncio.timeout(5), h3(server.host, server.port) as client:
            stream_id = client.begin_raw(CONNECT)
            assert (await client.head(stream_id))[":status"] == "200"
            client.send(stream_id, b"\x81\x82\0\0\0\0hi")
            event = await client.next(stream_id)
            assert event.data == b"\x81\x02hi"  # type: ignore[union-attr]
            client.send(stream_id, b"\x88\x82\0\0\0\0\x03\xe8")
            assert await client.body(stream_id) == b"\x88\x02\x03\xe8"

            async def sockets() -> int:
                return int((await client.json("/live"))["streams"])

            # One that ends without a word of farewell.
            assert await becomes(sockets, 0)
            stream_id = client.begin_raw(CONNECT)
            await client.head(stream_id)
            assert await sockets() == 1
            client.send(stream_id, b"", end=True)
            assert await becomes(sockets, 0)

    server = shared("edge")
    asyncio.run(scenario(server))
