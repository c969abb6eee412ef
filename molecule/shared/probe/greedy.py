"""Event streams that are asked for and never read: python -m probe.greedy PROTOCOL PATH.

Each has a connection of its own, and what the server closes is asked for again. It prints a line
once they are open or refused, goes on until its standard input ends or a minute is over, and prints
how many were opened, refused and closed by the peer, and are open.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from functools import partial

from probe import keep, program, unread


async def main() -> None:
    """Be greedy until told to stop."""
    parser = program.arguments(__doc__)
    parser.add_argument("protocol", choices=unread.CLIENTS)
    parser.add_argument("path", help="e.g. /api/sse?interval=0.01&count=10000")
    parser.add_argument("--count", type=program.within(1, 500), default=20, help="(%(default)s)")
    options = parser.parse_args()
    client = partial(unread.CLIENTS[options.protocol], program.where(options), options.path)
    stop = await program.told(program.SECONDS)
    keeper = keep.Keeper(client, options.count, rate=50, total=5000)
    program.say(asdict(await keeper.run(stop, program.ready)))


if __name__ == "__main__":
    asyncio.run(main())
