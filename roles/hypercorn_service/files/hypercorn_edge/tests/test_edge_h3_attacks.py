"""What a client can do over HTTP/3, to Hypercorn's own server and to ours."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import ErrorCode, FrameType, encode_frame
from aioquic.h3.events import DataReceived

from .edge_client import Client, ResetError, TerminatedError, answers, h3
from .edge_server import Server, Shared, serving

METHOD, SCHEME = (b":method", b"GET"), (b":scheme", b"https")
AUTHORITY, PATH = (b":authority", b"localhost"), (b":path", b"/")


async def early_answer(client: Client) -> None:
    """Answer before the body was read (https://github.com/pgjones/hypercorn/issues/329)."""
    await client.fetch("/nowhere", "POST", b"x" * 60_000)


async def trailers(client: Client) -> None:
    stream_id = client.begin("/length", "POST")
    client.send(stream_id, b"body")
    client.h3.send_headers(stream_id, [(b"checksum", b"1")], end_stream=True)
    client.transmit()
    assert (await client.head(stream_id))[":status"] == "200"
    assert await client.body(stream_id) == b"4"


async def connect_without_protocol(client: Client) -> None:
    stream_id = client.begin_raw([(b":method", b"CONNECT"), AUTHORITY], end=True)
    assert (await client.head(stream_id))[":status"] == "501"


async def no_path(client: Client) -> None:
    await refused(client, client.begin_raw([METHOD, (b":scheme", b"ftp"), AUTHORITY], end=True))


async def non_ascii_path(client: Client) -> None:
    head = [METHOD, SCHEME, AUTHORITY, (b":path", b"/\xc3\xa4")]
    await refused(client, client.begin_raw(head, end=True))


async def non_ascii_method(client: Client) -> None:
    head = [(b":method", b"G\xc3\x84T"), SCHEME, AUTHORITY, PATH]
    await refused(client, client.begin_raw(head, end=True))


async def non_ascii_query(client: Client) -> None:
    head = [METHOD, SCHEME, AUTHORITY, (b":path", b"/?\xff")]
    await refused(client, client.begin_raw(head, end=True))


async def refused(client: Client, stream_id: int) -> None:
    with pytest.raises(ResetError, match=str(0x10E)):  # H3_MESSAGE_ERROR
        await client.head(stream_id)


async def websocket_garbage(client: Client) -> None:
    head = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), SCHEME, AUTHORITY, PATH]
    stream_id = client.begin_raw([*head, (b"sec-websocket-version", b"13")])
    assert (await client.head(stream_id))[":status"] == "200"
    client.send(stream_id, b"\xff" * 100)
    client.send(stream_id, b"\xff" * 100)
    client.send(stream_id, b"\xff" * 100, end=True)
    await client.body(stream_id)


async def non_ascii_websocket_header(client: Client) -> None:
    head = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), SCHEME, AUTHORITY, PATH]
    stream_id = client.begin_raw([*head, (b"sec-websocket-protocol", b"\xff")])
    with pytest.raises(ResetError, match=str(int(ErrorCode.H3_INTERNAL_ERROR))):
        await client.head(stream_id)


async def huge_header_list(client: Client) -> None:
    stream_id = client.begin("/", headers=[(b"x-%d" % n, b"v" * 1000) for n in range(70)])
    assert (await client.head(stream_id))[":status"] == "431"


async def endless_header_frame(client: Client) -> None:
    """Announce a header frame of 1 GB and send it."""
    stream_id = client._quic.get_next_available_stream_id()
    frame = encode_uint_var(FrameType.HEADERS) + encode_uint_var(2**30)
    client._quic.send_stream_data(stream_id, frame + b"x" * 1_000_000)
    client.transmit()
    assert await client.terminated == ErrorCode.H3_EXCESSIVE_LOAD


async def upper_case_header(client: Client) -> None:
    client.begin("/", headers=[(b"X-Upper", b"1")], end=True)
    assert await client.terminated == ErrorCode.H3_MESSAGE_ERROR


async def duplicate_pseudo_header(client: Client) -> None:
    client.begin("/", headers=[PATH], end=True)
    assert await client.terminated == ErrorCode.H3_MESSAGE_ERROR


async def broken_qpack(client: Client) -> None:
    stream_id = client._quic.get_next_available_stream_id()
    client._quic.send_stream_data(stream_id, encode_frame(FrameType.HEADERS, b"\x05\x00\xff\xff"))
    client.transmit()
    assert await client.terminated == ErrorCode.QPACK_DECOMPRESSION_FAILED


async def pings_without_end(client: Client) -> None:
    """Have the server answer pings with pongs that are never read."""
    head = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), SCHEME, AUTHORITY, PATH]
    stream_id = client.begin_raw([*head, (b"sec-websocket-version", b"13")])
    await client.head(stream_id)
    ping = b"\x89\xfd\0\0\0\0" + b"x" * 125
    for _ in range(100):
        client.send(stream_id, ping)
    data = await client.next(stream_id)
    assert isinstance(data, DataReceived)
    assert data.data[0] == 0x8A  # a pong


DEADLY = [
    early_answer,
    trailers,
    connect_without_protocol,
    no_path,
    non_ascii_path,
    non_ascii_method,
    websocket_garbage,
    non_ascii_websocket_header,
]
HARMLESS = [
    non_ascii_query,
    huge_header_list,
    endless_header_frame,
    upper_case_header,
    duplicate_pseudo_header,
    broken_qpack,
    pings_without_end,
]
Attack = Callable[[Client], Awaitable[None]]


@pytest.fixture(name="edge")
def _edge(shared: Shared) -> Server:
    return shared("edge")


def test_attacks_end_the_stock_listener(tmp_path: Path) -> None:
    """One server for each attack. They are started, and seen dead, all at a time."""

    async def scenario(server: Server, attack: Attack, turn: asyncio.Lock) -> str:
        async with turn:
            assert await answers(server.host, server.port, 20)
            async with h3(server.host, server.port) as client:
                with suppress(TimeoutError, AssertionError, ResetError, TerminatedError):
                    async with asyncio.timeout(0.3):
                        await attack(client)
        return "lives" if await answers(server.host, server.port, 1) else "dead"

    async def scenarios(servers: list[Server]) -> list[str]:
        turn = asyncio.Lock()
        return await asyncio.gather(
            *(scenario(*p, turn) for p in zip(servers, DEADLY, strict=True))
        )

    with ExitStack() as stack:
        servers = []
        for attack in DEADLY:
            folder = tmp_path / attack.__name__
            folder.mkdir()
            servers.append(stack.enter_context(serving(folder, "stock", wait=False)))
        for server in servers:
            server.wait_until_ready()
        assert asyncio.run(scenarios(servers)) == ["dead"] * len(DEADLY)


@pytest.mark.parametrize("attack", DEADLY + HARMLESS)
def test_attack_harms_nobody_else(edge: Server, attack: Attack) -> None:
    """A bystander's stream goes on, and new clients are answered."""

    async def scenario() -> None:
        async with (
            asyncio.timeout(10),
            h3(edge.host, edge.port) as bystander,
            h3(edge.host, edge.port) as client,
        ):
            stream_id = bystander.begin("/events", end=True)
            await bystander.head(stream_id)
            await attack(client)
            assert await answers(edge.host, edge.port, 5)
            while not bystander.queue(stream_id).empty():
                await bystander.next(stream_id)
            await bystander.next(stream_id)  # one that was sent after the attack

    before = edge.output()
    asyncio.run(scenario())
    expected = 1 if attack is non_ascii_websocket_header else 0
    assert edge.output().removeprefix(before).count("[ERROR]") == expected


def test_a_failure_is_logged_in_one_line(edge: Server) -> None:
    async def scenario() -> None:
        async with h3(edge.host, edge.port) as client:
            await non_ascii_websocket_header(client)

    before = edge.output()
    asyncio.run(scenario())
    logged = edge.output().removeprefix(before)
    assert logged.count("\n") == 1
    assert "[ERROR] An HTTP/3 stream failed: UnicodeDecodeError" in logged
