"""The connections that one client keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from steady.exchange import Connection


class Pool:
    """Connections of one client over one protocol: of HTTP/2 and 3 one, which requests share."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], *, shared: bool) -> None:
        """Connect when first asked."""
        self._connect = connect
        self._shared = shared
        self._kept: list[Connection] = []
        self._opening: asyncio.Task[Connection] | None = None

    async def take(self) -> tuple[Connection, bool]:
        """Return a usable connection, and whether it had to be opened for this."""
        self._kept = [connection for connection in self._kept if connection.open]
        for connection in self._kept:
            if connection.usable:
                return connection, False
        if not self._shared:
            return await self._open(), True
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open())
            # Perhaps nobody waits any longer when it fails.
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._opening), True

    def close(self) -> None:
        """Close all."""
        if self._opening is not None:
            self._opening.cancel()
        for connection in self._kept:
            connection.close()

    async def _open(self) -> Connection:
        connection = await self._connect()
        self._kept.append(connection)
        return connection
