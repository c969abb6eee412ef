"""Follow streams and calls over each protocol, and tell how each went on and ended.

As a program: streams COUNT PATH... follows COUNT of each path over each protocol. It prints a line
once all have begun, goes on until its standard input ends or the last of them does, and prints one
record of each.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass
from typing import Any, cast

from probe import web


@dataclass
class Record:
    """How a stream went; times are seconds since the epoch, for comparison with another host."""

    protocol: str
    path: str
    pieces: int = 0
    tail: str = ""  # its last bytes
    longest: float = 0  # seconds without a piece
    last: float = 0  # when the last piece came, or it ended
    ending: str = "open"  # or "clean", or the error


async def follow(record: Record, session: web.Session, begun: asyncio.Event) -> None:
    """Follow one stream to its end."""
    record.last = time.time()
    try:
        stream = cast("AsyncGenerator[bytes]", session.follow(record.path))
        async with contextlib.aclosing(stream) as pieces:
            async for piece in pieces:
                now = time.time()
                record.longest = max(record.longest, now - record.last)
                record.last = now
                record.pieces += 1
                record.tail = (record.tail + piece.decode())[-40:]
                begun.set()
        record.ending = "clean"
    except Exception as error:
        record.ending = repr(error)
    record.last = time.time()
    begun.set()


async def main(count: int, paths: list[str]) -> None:
    """Follow them until standard input or the last of them ends."""
    records = []
    async with contextlib.AsyncExitStack() as stack:
        tasks = []
        events = []
        for protocol in web.PROTOCOLS:
            session = await stack.enter_async_context(web.session(protocol))
            for path in paths * count:
                records.append(Record(protocol, path))
                events.append(asyncio.Event())
                tasks.append(asyncio.create_task(follow(records[-1], session, events[-1])))
        async with asyncio.timeout(20):
            for event in events:
                await event.wait()
        print("ready", flush=True)
        told: asyncio.Future[Any] = asyncio.create_task(_told())
        over: asyncio.Future[Any] = asyncio.gather(*tasks)
        await asyncio.wait([told, over], return_when=asyncio.FIRST_COMPLETED)
        now = time.time()
        for record in records:
            if record.ending == "open":
                record.longest = max(record.longest, now - record.last)
        print(json.dumps([asdict(record) for record in records]), flush=True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        told.cancel()


async def _told() -> None:
    """Wait for the end of standard input, without a thread that would outlive the loop."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    await reader.read()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
