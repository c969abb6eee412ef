"""A client who asks steadily over each protocol while others misbehave, and notes each failure.

Run as a program, it prints a line once each protocol has answered, goes on until its standard
input ends, and prints what it saw: by protocol how many it asked, which failed, and the seconds
that it took to connect and be answered, and those that each further answer took.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import asdict, dataclass, field

from probe import program, web
from probe.origin import OK, Origin

PATIENCE = 5  # seconds after which an answer is missing
INTERVAL = 0.05  # seconds between two requests


@dataclass
class Record:
    """What came of the requests over one protocol."""

    asked: int = 0
    connecting: list[float] = field(default_factory=list)  # seconds, with the first answer
    answering: list[float] = field(default_factory=list)  # seconds, on an open connection
    failures: list[str] = field(default_factory=list)


class Bystander:
    """Asks over each protocol, each on connections of its own, until told to stop."""

    def __init__(self, origin: Origin, path: str | None = None, interval: float = INTERVAL) -> None:
        """Ask there for this path, or over each protocol for the path of its name."""
        self._interval = interval
        self.records = {protocol: Record() for protocol in web.PROTOCOLS}
        self._origin = origin
        self._path = path
        self._stop = asyncio.Event()
        self._served = {protocol: asyncio.Event() for protocol in web.PROTOCOLS}
        self._begin = asyncio.get_running_loop().time()
        self._tasks = [asyncio.create_task(self._steadily(name)) for name in web.PROTOCOLS]

    async def served(self) -> None:
        """Wait for the first good answer over each protocol."""
        async with asyncio.timeout(2 * PATIENCE):
            for event in self._served.values():
                await event.wait()

    async def finish(self) -> dict[str, Record]:
        """Stop, and return what came of it."""
        self._stop.set()
        await asyncio.gather(*self._tasks)
        return self.records

    async def _steadily(self, protocol: str) -> None:
        while not self._stop.is_set():
            try:
                await self._on_one_session(protocol)
            except Exception as error:
                self._note(protocol, "connecting", error)
                await self._pause(1)

    async def _on_one_session(self, protocol: str) -> None:
        """Ask until told to stop; after a failure leave, so that the next one begins anew."""
        record = self.records[protocol]
        path = self._path or f"/{protocol}"
        loop = asyncio.get_running_loop()
        took = record.connecting
        begin = loop.time()
        async with self._origin.session(protocol) as session:
            while not self._stop.is_set():
                record.asked += 1
                try:
                    status, _ = await session.ask("GET", path, seconds=PATIENCE)
                    assert status == OK, status
                except Exception as error:
                    self._note(protocol, "asking", error)
                    return
                took.append(loop.time() - begin)
                took = record.answering
                self._served[protocol].set()
                await self._pause(self._interval - (loop.time() - begin))
                begin = loop.time()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), max(seconds, 0.001))

    def _note(self, protocol: str, what: str, error: Exception) -> None:
        when = asyncio.get_running_loop().time() - self._begin
        self.records[protocol].failures.append(f"{when:.1f} s, {what}: {error!r}")


async def main() -> None:
    """Be the bystander until standard input ends."""
    parser = program.arguments(__doc__)
    parser.add_argument("--path", help="to ask for (/h1, /h2, /h3)")
    parser.add_argument(
        "--interval", type=float, default=INTERVAL, help="seconds between two (%(default)s)"
    )
    options = parser.parse_args()
    origin = program.where(options)
    stop = await program.told()
    bystander = Bystander(origin, options.path, options.interval)
    await bystander.served()
    program.ready()
    await stop.wait()
    records = await bystander.finish()
    program.say({protocol: asdict(record) for protocol, record in records.items()})


if __name__ == "__main__":
    asyncio.run(main())
