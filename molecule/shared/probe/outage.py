"""How long a new client is without an answer over each protocol while the host is changed.

Run as a program with a host name and a path, it asks each tenth of a second on a connection of its
own, prints a line once each protocol has answered, goes on until its standard input ends, and
prints by protocol the seconds of the longest gap between two answers and how many it got.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass

from probe import web

PATIENCE = 2  # seconds after which an answer is missing
INTERVAL = 0.1  # seconds between two attempts
OK = 200


@dataclass
class Record:
    """What came of the attempts over one protocol."""

    answers: int = 0
    gap: float = 0  # seconds, the longest between two answers


async def attempt(protocol: str, host: str, path: str) -> bool:
    """Ask on a new connection; say whether there was a good answer."""
    try:
        async with asyncio.timeout(PATIENCE), web.session(protocol, host) as session:
            status, _ = await session.ask("GET", path, seconds=PATIENCE)
    except Exception:  # whatever is wrong, there was none
        return False
    return status == OK


async def watch(protocol: str, host: str, path: str, stop: asyncio.Event) -> Record:
    """Ask until told to stop."""
    record = Record()
    loop = asyncio.get_running_loop()
    last = loop.time()
    while not stop.is_set():
        if await attempt(protocol, host, path):
            record.gap = max(record.gap, loop.time() - last)
            record.answers += 1
            last = loop.time()
        await asyncio.sleep(INTERVAL)
    record.gap = max(record.gap, loop.time() - last)
    return record


async def main(host: str, path: str) -> None:
    """Watch each protocol until standard input ends."""
    async with asyncio.timeout(10 * PATIENCE):
        for protocol in web.PROTOCOLS:
            while not await attempt(protocol, host, path):
                pass
    print("ready", flush=True)
    stop = asyncio.Event()
    tasks = {name: asyncio.create_task(watch(name, host, path, stop)) for name in web.PROTOCOLS}
    await asyncio.to_thread(sys.stdin.read)
    stop.set()
    print(json.dumps({name: asdict(await task) for name, task in tasks.items()}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
