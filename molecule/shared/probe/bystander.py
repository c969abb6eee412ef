"""A client who asks steadily over each protocol while others misbehave, and notes each failure.

Run as a program, it prints a line once each protocol has answered, goes on until its standard
input ends, and prints what it saw: by protocol how many it asked, which failed, and the seconds
that the slowest took.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from dataclasses import asdict, dataclass, field

from probe import h3, web

PATIENCE = 5  # seconds after which an answer is missing
INTERVAL = 0.05  # seconds between two requests
OK = 200


@dataclass
class Record:
    """What came of the requests over one protocol."""

    asked: int = 0
    slowest: float = 0
    failures: list[str] = field(default_factory=list)


class Bystander:
    """Asks over each protocol, each on connections of its own, until told to stop."""

    def __init__(
        self, address: str | None = None, port: int = 443, root: str | None = h3.LAB_ROOT
    ) -> None:
        """Ask at this address, or at that of the name, and trust this root."""
        self.records = {protocol: Record() for protocol in web.PROTOCOLS}
        self._where = (address, port, root)
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
        address, port, root = self._where
        record = self.records[protocol]
        loop = asyncio.get_running_loop()
        async with web.session(protocol, port=port, address=address, root=root) as session:
            while not self._stop.is_set():
                begin = loop.time()
                record.asked += 1
                try:
                    status, _ = await session.ask("GET", f"/{protocol}", seconds=PATIENCE)
                    assert status == OK, status
                except Exception as error:
                    self._note(protocol, "asking", error)
                    return
                record.slowest = max(record.slowest, loop.time() - begin)
                self._served[protocol].set()
                await self._pause(INTERVAL - (loop.time() - begin))

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), max(seconds, 0.001))

    def _note(self, protocol: str, what: str, error: Exception) -> None:
        when = asyncio.get_running_loop().time() - self._begin
        self.records[protocol].failures.append(f"{when:.1f} s, {what}: {error!r}")


async def main() -> None:
    """Be the bystander until standard input ends."""
    bystander = Bystander()
    await bystander.served()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    records = await bystander.finish()
    print(json.dumps({protocol: asdict(record) for protocol, record in records.items()}))


if __name__ == "__main__":
    asyncio.run(main())
