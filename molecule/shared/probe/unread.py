"""Clients that ask for a stream over each protocol, and read no more of it than its head."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import Callable

from probe import h2, h3
from probe.origin import OK, PATIENCE, Origin, RefusedError

RECEIVE_BUFFER = 4096  # bytes: the kernel must not read much in our stead
FOREVER = 3600  # seconds


async def over_h1(origin: Origin, path: str, opened: Callable[[], None]) -> None:
    """Receive the head, and nothing after it."""
    sock = await asyncio.to_thread(_ask_h1, origin, path)
    with sock:
        opened()
        await _hung_up(sock)


async def over_h2(
    origin: Origin, path: str, opened: Callable[[], None], window: int | None = None
) -> None:
    """Acknowledge none of the data, of which the server may send a window."""
    async with h2.connect(origin, window) as connection:
        stream_id = connection.open(h2.head(origin, path))
        connection.flush()
        await h2.answered(connection, stream_id)
        opened()
        await h2.over(connection)


async def over_h3(origin: Origin, path: str, opened: Callable[[], None]) -> None:
    """Never open the windows of the stream and the connection, of 1 MiB each, any further."""
    async with origin.quic() as connection:
        # aioquic doubles a window by itself, whether or not anyone reads, once half of it is used.
        nothing = {"_write_connection_limits": _ignore, "_write_stream_limits": _ignore}
        vars(connection.quic).update(nothing)
        exchange = connection.open("GET", path)
        await exchange.until(lambda: exchange.status != 0, PATIENCE)
        if exchange.status != OK:
            raise RefusedError(f"status {exchange.status}")
        opened()
        await exchange.until(lambda: exchange.over, FOREVER)


CLIENTS = {"h1": over_h1, "h2": over_h2, "h3": over_h3}


def _ignore(**_arguments: object) -> None:
    """Stand for a method that is to do nothing."""


def _ask_h1(origin: Origin, path: str) -> ssl.SSLSocket:
    tcp = socket.create_connection((origin.address, origin.port), PATIENCE, origin.local)
    try:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock = origin.trust("http/1.1").wrap_socket(tcp, server_hostname=origin.name)
    except OSError:
        tcp.close()
        raise
    try:
        lines = [f"GET {path} HTTP/1.1", f"Host: {origin.name}", ": ".join(h3.USER_AGENT), "", ""]
        sock.sendall("\r\n".join(lines).encode())
        status = int(sock.recv(1024).split(b" ", 2)[1])
        if status != OK:
            raise RefusedError(f"status {status}")
    except (OSError, IndexError, ValueError, RefusedError):
        sock.close()
        raise
    return sock


async def _hung_up(sock: socket.socket) -> None:
    """Wait until the server ends the connection, without a look at what it sends."""
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    with select.epoll() as poll:
        poll.register(sock, select.EPOLLRDHUP)
        loop.add_reader(poll.fileno(), gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(poll.fileno())
