"""Keep so many clients at a server, whatever it does about them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

# A client calls what it is given once it is open, and returns or raises when its peer ended it.
Client = Callable[[Callable[[], None]], Awaitable[None]]


@dataclass
class Tally:
    """What became of the clients."""

    opened: int = 0
    refused: int = 0  # ended before they were open
    closed: int = 0  # ended by the peer once they were open
    open: int = 0  # at the end
    endings: dict[str, int] = field(default_factory=dict)  # how many of those ended in which way


@dataclass
class Keeper:
    """Keeps the wanted number of clients, starts rate of them a second, and total in all."""

    client: Client
    wanted: int
    rate: int
    total: int
    tally: Tally = field(default_factory=Tally)

    async def run(self, stop: asyncio.Event, settled: Callable[[], None]) -> Tally:
        """Go on until told to stop; call settled once the first are open or refused."""
        tally = self.tally
        running: set[asyncio.Task[None]] = set()
        begun = 0
        waiting = True
        while not stop.is_set():
            if len(running) < self.wanted and begun < self.total:
                task = asyncio.create_task(self._one())
                task.add_done_callback(running.discard)
                running.add(task)
                begun += 1
            if waiting and tally.opened + tally.refused >= min(self.wanted, self.total):
                settled()
                waiting = False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1 / self.rate)
        if waiting:
            settled()
        tally.open = tally.opened - tally.closed
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        return tally

    async def _one(self) -> None:
        tally = self.tally
        is_open = False

        def opened() -> None:
            nonlocal is_open
            is_open = True
            tally.opened += 1

        try:
            await self.client(opened)
            ending = "ended"
        except Exception as error:
            ending = repr(error)[:100]
        tally.endings[ending] = tally.endings.get(ending, 0) + 1
        if is_open:
            tally.closed += 1
        else:
            tally.refused += 1
