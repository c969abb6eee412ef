"""What reaches one event stream over each protocol, and until when: python -m probe.watch PATH.

It prints a line once each has begun or failed, goes on until its standard input or the last of them
ends, and prints by protocol what came, piece by piece, in seconds since its start.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

from probe import program, streams, web
from probe.origin import Origin


@dataclass
class Arrivals:
    """A session whose streams are counted as they are followed."""

    session: web.Session
    count: int = 0  # of bytes
    times: list[float] = field(default_factory=list)  # of each piece, in seconds since the epoch

    async def ask(
        self, method: str, path: str, body: bytes = b"", seconds: float = 5
    ) -> tuple[int, bytes]:
        return await self.session.ask(method, path, body, seconds)

    async def follow(self, path: str) -> AsyncIterator[bytes]:
        stream = cast("AsyncGenerator[bytes]", self.session.follow(path))
        async with contextlib.aclosing(stream) as pieces:
            async for piece in pieces:
                self.count += len(piece)
                self.times.append(time.time())
                yield piece


class Watch:
    """One stream over one protocol."""

    def __init__(self, origin: Origin, protocol: str, path: str) -> None:
        """Begin to follow it."""
        self.record = streams.Record(protocol, path)
        self.begun = asyncio.Event()
        self._origin = origin
        self._start = time.time()
        self._arrivals: Arrivals | None = None
        self.task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        try:
            async with self._origin.session(self.record.protocol) as session:
                self._arrivals = Arrivals(session)
                await streams.follow(self.record, self._arrivals, self.begun)
        except Exception as error:
            self.record.ending = repr(error)
        self.begun.set()

    def result(self) -> dict[str, Any]:
        """Return what came; last and times are seconds since the start, null where nothing came."""
        arrivals = self._arrivals
        times = arrivals.times if arrivals else []
        return {
            "bytes": arrivals.count if arrivals else 0,
            "pieces": len(times),
            "last": times[-1] - self._start if times else None,
            "last_epoch": times[-1] if times else None,
            "times": [round(at - self._start, 3) for at in times],
            "ending": self.record.ending,
        }


async def main() -> None:
    """Watch until told to stop, or until there is nothing left to watch."""
    parser = program.arguments(__doc__)
    parser.add_argument("path")
    options = parser.parse_args()
    origin = program.where(options)
    stop = await program.told()
    watches = {protocol: Watch(origin, protocol, options.path) for protocol in web.PROTOCOLS}
    async with asyncio.timeout(20):
        for watch in watches.values():
            await watch.begun.wait()
    program.ready()
    told = asyncio.create_task(stop.wait())
    over: asyncio.Future[Any] = asyncio.gather(*(watch.task for watch in watches.values()))
    await asyncio.wait([told, over], return_when=asyncio.FIRST_COMPLETED)
    program.say({protocol: watch.result() for protocol, watch in watches.items()})
    told.cancel()
    over.cancel()
    await asyncio.gather(over, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main())
