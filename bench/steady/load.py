"""Requests at a constant rate, each sent when it is due, whatever became of those before it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from steady.exchange import Connection, FailedError, UntakenError
from steady.pool import Pool
from steady.record import Log, Sample

MOST_REPEATS = 10
Ask = Callable[[Connection, Sample], Awaitable[None]]


@dataclass(frozen=True)
class Lane:
    """Requests of one kind over one protocol, from a client of their own.

    The share of them that is fresh comes on a connection that is opened for it and closed after it.
    """

    protocol: str
    kind: str
    ask: Ask
    pool: Pool
    connect: Callable[[], Awaitable[Connection]]


@dataclass(frozen=True)
class Pace:
    """When requests are due."""

    rate: float  # a second, in each lane
    fresh: float  # how many of one are to come on new connections
    patience: float  # seconds that a request may take


async def drive(lane: Lane, pace: Pace, offset: float, log: Log, stop: asyncio.Event) -> None:
    """Send requests until told to stop, the first one after an offset of intervals (0 to 1)."""
    loop = asyncio.get_running_loop()
    number = 0
    async with asyncio.TaskGroup() as group:
        while True:
            due = log.begin + (number + offset) / pace.rate
            if await _told(stop, due - loop.time()):
                return
            log.late = max(log.late, loop.time() - due)
            sample = Sample(lane.protocol, lane.kind, due)
            log.samples.append(sample)
            # The offset moves the fresh ones of the lanes apart too.
            fresh = int((number + 1) * pace.fresh + offset) > int(number * pace.fresh + offset)
            group.create_task(_attend(lane, sample, pace.patience, fresh=fresh))
            number += 1


async def _told(stop: asyncio.Event, seconds: float) -> bool:
    """Wait; return whether to stop."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return False
    return True


async def _attend(lane: Lane, sample: Sample, patience: float, *, fresh: bool) -> None:
    """Send one request and note what became of it."""
    try:
        async with asyncio.timeout(patience):
            while await _untaken(lane, sample, fresh=fresh):
                sample.repeated += 1
    except FailedError as error:
        sample.failure, sample.error = error.kind, str(error)
    except TimeoutError:
        sample.failure, sample.error = "timeout", f"no answer within {patience:g} s"
    sample.done = asyncio.get_running_loop().time()


async def _untaken(lane: Lane, sample: Sample, *, fresh: bool) -> bool:
    """Send a request; return whether the server says that it did not take it."""
    # A client that keeps connections may have lost its own.
    sample.fresh = sample.fresh or fresh or lane.pool.idle() is None
    connection = await (lane.connect() if fresh else lane.pool.take())
    sent = asyncio.get_running_loop().time()
    try:
        await lane.ask(connection, sample)
    except UntakenError as error:
        if sample.repeated == MOST_REPEATS:
            raise FailedError("untaken", f"not taken {MOST_REPEATS + 1} times: {error}") from error
        return True
    except asyncio.CancelledError:
        # Whoever is silent for so long may be gone without a word.
        if connection.heard < sent:
            connection.retire()
        raise
    finally:
        if fresh:
            connection.close()
        else:
            lane.pool.give_back(connection)
    return False
