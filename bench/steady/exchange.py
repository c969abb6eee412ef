"""A request and what came of it, the same over every version of HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


class FailedError(Exception):
    """A request came to nothing. The kind is one word, for counting."""

    def __init__(self, kind: str, text: str) -> None:
        """Say what went wrong."""
        super().__init__(text)
        self.kind = kind


class UntakenError(Exception):
    """The server said that it has not looked at the request: it may be sent again."""


@dataclass(frozen=True)
class Request:
    """What to ask for; the names of headers are in lower case."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Exchange:
    """The answer to one request, as it comes."""

    def __init__(self) -> None:
        """Wait for an answer."""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.over = False  # nothing more will come
        self._news: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()

    def answered(self, status: int, headers: dict[str, str]) -> None:
        """Note the head of the answer."""
        self.status, self.headers = status, headers
        self._news.put_nowait(b"")

    def piece(self, data: bytes) -> None:
        """Note a piece of the body."""
        self._news.put_nowait(data)

    def end(self) -> None:
        """Note that the answer is complete."""
        if not self.status:
            self.fail(FailedError("broken", "the stream ended without an answer"))
        elif not self.over:
            self.over = True
            self._news.put_nowait(None)

    def fail(self, error: Exception) -> None:
        """Note that the answer will not become complete."""
        if not self.over:
            self.over = True
            self._news.put_nowait(error)

    async def head(self) -> None:
        """Wait for the status and the headers."""
        await self._next()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give the body as it comes; ends where the server ended it."""
        while (piece := await self._next()) is not None:
            yield piece

    async def body(self) -> bytes:
        """Wait for the whole body."""
        return b"".join([piece async for piece in self.pieces()])

    async def _next(self) -> bytes | None:
        item = await self._news.get()
        if isinstance(item, Exception):
            raise item
        return item


class Connection(Protocol):
    """One connection to the server."""

    heard: float
    """When something last came, by the clock of the event loop."""

    @property
    def usable(self) -> bool:
        """Whether a request can be sent now."""

    @property
    def open(self) -> bool:
        """Whether it may be usable now or later."""

    def send(self, request: Request) -> Exchange:
        """Send a request, while this is usable."""

    def cancel(self, exchange: Exchange) -> None:
        """Give up a request."""

    def retire(self) -> None:
        """Take no more requests, and close as soon as those under way are over."""

    def close(self) -> None:
        """Close now."""
