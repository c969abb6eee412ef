"""The connections that one client keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from steady.exchange import Connection


class Pool:
    """Connections of one client over one protocol: of HTTP/2 and 3 one, which requests share.

    Of HTTP/1.1 one is taken until it is given back: who asks again on it finds it free.
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]], *, shared: bool) -> None:
        """Connect when first asked."""
        self._connect = connect
        self._shared = shared
        self._kept: list[Connection] = []
        self._opening: asyncio.Task[Connection] | None = None

    def idle(self) -> Connection | None:
        """Return a connection that is usable now."""
        self._kept = [connection for connection in self._kept if connection.open]
        return next((connection for connection in self._kept if connection.usable), None)

    async def take(self) -> Connection:
        """Return a usable connection, which may have to be opened."""
        connection = self.idle()
        if not self._shared:
            if connection is None:
                return await self._connect()
            self._kept.remove(connection)
        if connection is not None:
            return connection
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open())
            # Perhaps nobody waits any longer when it fails.
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._opening)

    def give_back(self, connection: Connection) -> None:
        """Let others take a connection that was taken."""
        if connection not in self._kept:
            self._kept.append(connection)

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
