"""Event streams that stay open, and begin anew as those of a browser's EventSource do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from steady.exchange import Connection, Exchange, FailedError, Request, UntakenError
from steady.kinds import Headers, good
from steady.pool import Pool
from steady.record import Life, Log

AGAIN = 0.1  # seconds until one that the server has not taken is asked for again
RETRY = 1.0  # seconds until a stream begins anew, where the server asked for no other time


@dataclass
class Fields:
    """What the server says about beginning anew, from a stream's bytes."""

    retry: float = RETRY
    last_id: str = ""
    _line: bytes = b""

    def feed(self, data: bytes) -> None:
        """Read on."""
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            name, _, value = line.rstrip(b"\r").decode(errors="replace").partition(":")
            value = value.removeprefix(" ")
            if name == "retry" and value.isdecimal():
                self.retry = int(value) / 1000
            elif name == "id":
                self.last_id = value


@dataclass(frozen=True)
class Source:
    """Where streams are, and the silence after which one counts as broken."""

    path: str
    headers: Headers
    silence: float
    patience: float


async def follow(source: Source, pool: Pool, life: Life, fields: Fields) -> None:
    """Follow one stream to its end, and note how it went."""
    loop = asyncio.get_running_loop()
    connection: Connection | None = None
    exchange: Exchange | None = None
    headers = (*source.headers, ("accept", "text/event-stream"), ("cache-control", "no-store"))
    if fields.last_id:
        headers = (*headers, ("last-event-id", fields.last_id))
    try:
        async with asyncio.timeout(source.patience) as limit:
            connection = await pool.take()
            exchange = connection.send(Request("GET", source.path, headers))
            await exchange.head()
            good(exchange)
            async for piece in exchange.pieces():
                if piece:
                    life.begun = min(life.begun, loop.time())
                    life.arrivals.append(loop.time())
                    limit.reschedule(loop.time() + source.silence)
                    fields.feed(piece)
        life.ending = "ended"
    except UntakenError as error:
        life.ending, life.error = "untaken", str(error)
    except FailedError as error:
        life.ending = "broken" if life.arrivals else "failed"
        life.error = str(error)
    except TimeoutError:
        life.ending = "broken" if life.arrivals else "failed"
        life.error = f"silent for {source.silence if life.arrivals else source.patience:g} s"
        if connection is not None:
            connection.retire()
    finally:
        life.over = loop.time()
        if connection is not None and exchange is not None and not exchange.over:
            connection.cancel(exchange)


async def keep(source: Source, protocol: str, slot: int, pool: Pool, log: Log) -> None:
    """Keep a stream open until cancelled."""
    fields = Fields()
    while True:
        life = Life(protocol, slot, asyncio.get_running_loop().time())
        log.lives.append(life)
        await follow(source, pool, life, fields)
        if life.ending == "untaken":  # nothing was begun, so nothing ended
            log.lives.remove(life)
            await asyncio.sleep(AGAIN)
        else:
            await asyncio.sleep(fields.retry)
