"""Slow clients, so many at a time: python -m probe.slow KIND COUNT.

The kinds:
tls         a TLS hello that comes byte by byte, one a second
h2-headers  HTTP/2 headers without an end, one more frame a second
h2-window   HTTP/2 requests for PATH with a window of zero
quic        QUIC handshakes of which the server gets the first packet and nothing more
quic-idle   QUIC connections on which nothing is ever asked

What the server closes is opened again. It prints a line once the first of them are open or refused,
goes on until its standard input ends or its time is over, and prints how many were opened, refused
and closed by the peer, and are open. A server may forget a client of kind quic without a word.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial

import hpack
from aioquic.quic.connection import QuicConnection
from hyperframe.frame import ContinuationFrame, HeadersFrame

from probe import h2, keep, program, unread
from probe.origin import PATIENCE, Origin

KEEP_OPEN = 15  # seconds between two pings
Opened = Callable[[], None]


async def tls(origin: Origin, _path: str, opened: Opened) -> None:
    """Send a hello byte by byte."""
    hello = ssl.MemoryBIO()
    session = origin.trust("h2").wrap_bio(ssl.MemoryBIO(), hello, server_hostname=origin.name)
    with contextlib.suppress(ssl.SSLWantReadError):  # as nobody answers it
        session.do_handshake()
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(
            origin.address, origin.port, local_addr=origin.local
        )
    try:
        opened()
        await drip(reader, writer, (bytes([byte]) for byte in hello.read()))
    finally:
        writer.transport.abort()


async def h2_headers(origin: Origin, path: str, opened: Opened) -> None:
    """Send a request's head whose end never comes."""
    encoder = hpack.Encoder()

    def frames() -> Iterator[bytes]:
        block = encoder.encode(h2.head(origin, path))
        yield HeadersFrame(1, block, flags=["END_STREAM"]).serialize()
        for number in itertools.count():
            yield ContinuationFrame(1, encoder.encode([("x-drip", str(number))])).serialize()

    async with h2.connect(origin) as connection:
        opened()
        await drip(connection.reader, connection.writer, frames())


async def quic(origin: Origin, _path: str, opened: Opened) -> None:
    """Send a first packet, and never answer what comes back."""
    loop = asyncio.get_running_loop()
    connection = QuicConnection(configuration=origin.quic_configuration())
    there = (origin.address, origin.port)
    connection.connect(there, now=time.time())
    with origin.udp() as udp:
        udp.setblocking(False)
        for data, _ in connection.datagrams_to_send(now=time.time()):
            await loop.sock_sendall(udp, data)
        async with asyncio.timeout(PATIENCE):
            data = await loop.sock_recv(udp, 65535)
        opened()
        while connection._close_event is None:
            connection.receive_datagram(data, there, now=time.time())
            data = await loop.sock_recv(udp, 65535)


async def quic_idle(origin: Origin, _path: str, opened: Opened) -> None:
    """Complete a handshake, and ask for nothing."""
    async with origin.quic(http=False) as connection:
        opened()
        while not connection.end:
            try:
                async with asyncio.timeout(KEEP_OPEN):
                    await connection.wait_closed()
            except TimeoutError:
                await connection.settled(PATIENCE)


async def h2_window(origin: Origin, path: str, opened: Opened) -> None:
    """Let the server send no byte of its answer's body."""
    await unread.over_h2(origin, path, opened, window=0)


async def drip(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pieces: Iterator[bytes]
) -> None:
    """Send a piece a second until the peer ends the connection, whatever it says meanwhile."""
    gone = asyncio.create_task(_drain(reader))
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.wait([gone], timeout=1)
            if gone.done():
                break
        await gone
    finally:
        gone.cancel()


async def _drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


KINDS = {
    "tls": tls,
    "h2-headers": h2_headers,
    "h2-window": h2_window,
    "quic": quic,
    "quic-idle": quic_idle,
}


async def main() -> None:
    """Keep them open until told to stop."""
    parser = program.arguments(__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("count", type=program.within(1, 2000), help="at a time")
    limits = {
        "--rate": (1000, 50, "opened a second (%(default)s)"),
        "--total": (5000, 5000, "opened in all (%(default)s)"),
        "--seconds": (program.SECONDS, program.SECONDS, "the longest it goes on (%(default)s)"),
    }
    for option, (most, default, text) in limits.items():
        parser.add_argument(option, type=program.within(1, most), default=default, help=text)
    parser.add_argument("--path", default="/", help="of kinds h2-... (%(default)s)")
    options = parser.parse_args()
    client = partial(KINDS[options.kind], program.where(options), options.path)
    stop = await program.told(options.seconds)
    keeper = keep.Keeper(client, options.count, options.rate, options.total)
    program.say(asdict(await keeper.run(stop, program.ready)))


if __name__ == "__main__":
    asyncio.run(main())
