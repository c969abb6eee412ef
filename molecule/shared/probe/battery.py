"""Play a fuzzer's mutations to a server: each alone on its stream, many on a connection."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from probe import frames, fuzz, h3

LANES = 4  # connections at a time
CANARY = 50  # after so many mutations a good request on the connection must be answered
PATIENCE = 5  # seconds after which an answer is missing


@dataclass
class Report:
    """What came of the mutations."""

    played: int = 0
    connections: int = 0
    canaries: int = 0
    outcomes: dict[str, collections.Counter[str]] = field(
        default_factory=lambda: collections.defaultdict(collections.Counter)
    )
    endings: collections.Counter[str] = field(default_factory=collections.Counter)
    failures: list[str] = field(default_factory=list)  # of good requests and handshakes
    silent: list[str] = field(default_factory=list)  # mutations that got no answer, though due


class Lane:
    """One connection at a time, on which mutations are played one after the other."""

    def __init__(self, where: dict[str, Any], local: Iterator[str | None], report: Report) -> None:
        """Connect as where says, as soon as there is something to play, from the next address."""
        self._where = where
        self._local = local
        self._report = report
        self._stack = contextlib.AsyncExitStack()
        self._connection: h3.Connection | None = None
        self._streams: dict[int, int] = {}

    async def play(self, mutations: Iterator[fuzz.Mutation]) -> None:
        """Play until there are no more, or until no connection comes about."""
        try:
            for mutation in mutations:
                self._report.played = played = self._report.played + 1
                await self._note(mutation)
                if played % CANARY == 0:
                    await self._canary()
            await self._canary()
        except (ConnectionError, TimeoutError) as error:
            self._report.failures.append(f"connecting: {error!r}")
        finally:
            await self._stack.aclose()

    async def _note(self, mutation: fuzz.Mutation) -> None:
        outcome = await self._one(mutation)
        self._report.outcomes[mutation.kind][outcome] += 1
        if outcome == "silent":
            self._report.silent.append(repr(mutation)[:500])

    async def _one(self, mutation: fuzz.Mutation) -> str:
        """Play one and say what came of it."""
        steps = list(mutation.steps)
        if steps[0].where == fuzz.CONNECTION:
            connection = await self._fresh(steps.pop(0).data)
        else:
            connection = await self._alive()
        on = dict(self._streams)
        exchange = None
        for step in steps:
            if step.where == fuzz.REQUEST and exchange is None:
                exchange = connection.watch()
                on[step.where] = exchange.stream_id
            elif step.where == fuzz.UNI:
                on[step.where] = connection.open_raw(unidirectional=True)
            connection.act(on[step.where], step.data, step.end, step.reset, step.stop)
        outcome = await self._outcome(connection, exchange, due=mutation.due)
        connection.exchanges.clear()
        return outcome

    async def _outcome(
        self, connection: h3.Connection, exchange: h3.Exchange | None, *, due: bool
    ) -> str:
        with contextlib.suppress(TimeoutError):
            await connection.settled(PATIENCE)
        if exchange is not None:
            with contextlib.suppress(TimeoutError):
                await exchange.until(lambda: exchange.over, PATIENCE if due else 0.001)
        if connection.end:
            self._report.endings[connection.end] += 1
            return "closed"
        if exchange is None:
            return "ignored"
        if not exchange.over:
            connection.give_up(exchange)
            return "silent" if due else "ignored"
        return "answered" if exchange.finished else "reset"

    async def _alive(self) -> h3.Connection:
        if self._connection is None or self._connection.end:
            return await self._fresh(frames.CONTROL)
        return self._connection

    async def _fresh(self, control: bytes) -> h3.Connection:
        await self._stack.aclose()
        connection = await self._stack.enter_async_context(
            h3.connect(local=next(self._local), **self._where)
        )
        self._report.connections += 1
        self._connection = connection
        self._streams = {}
        first = {fuzz.CONTROL: control, fuzz.ENCODER: frames.ENCODER, fuzz.DECODER: frames.DECODER}
        for where, data in first.items():
            self._streams[where] = connection.open_raw(unidirectional=True)
            connection.raw(self._streams[where], data)
        return connection

    async def _canary(self) -> None:
        """See that the connection, if it is still there, carries a good request."""
        connection = await self._alive()
        self._report.canaries += 1
        exchange = connection.watch()
        connection.raw(exchange.stream_id, frames.headers(frames.REQUEST), end=True)
        try:
            await exchange.until(lambda: exchange.finished, PATIENCE)
            assert b'"path": "/fuzz"' in exchange.body, exchange.body
        except (h3.BrokenError, TimeoutError, AssertionError) as error:
            self._report.failures.append(f"a good request: {error!r}, {connection.end}")
        connection.exchanges.clear()


async def battery(
    seed: int,
    count: int,
    addresses: Sequence[str] = (),
    **where: Any,  # noqa: ANN401 - see h3.connect
) -> Report:
    """Play the first mutations of a seed, from connections that take turns in our addresses."""
    report = Report()
    mutations = itertools.islice(fuzz.mutations(seed), count)
    local = itertools.cycle(addresses or [None])
    lanes = [Lane(where | {"http": False}, local, report) for _ in range(LANES)]
    await asyncio.gather(*(lane.play(mutations) for lane in lanes))
    return report
