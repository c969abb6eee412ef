"""What is asked: a plain GET, and a tool in both generations of MCP."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from steady.exchange import Connection, Exchange, FailedError, Request
from steady.record import SESSION_ERA, STATELESS, Sample

META = "io.modelcontextprotocol/"
WHO = {"name": "codeintel-steady", "version": "0"}
SHOWN = 200  # characters of an answer that an error tells
USER_AGENT = ("user-agent", "codeintel-steady")
Headers = tuple[tuple[str, str], ...]


def good(exchange: Exchange) -> None:
    """Raise FailedError unless the answer is a success."""
    status = exchange.status
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise FailedError("refused", f"status {status}")
    if not HTTPStatus.OK <= status < HTTPStatus.BAD_REQUEST:
        raise FailedError("status", f"status {status}")


async def answer(connection: Connection, request: Request) -> tuple[Exchange, bytes]:
    """Ask, and return the whole answer; give it up where the wait for it is cancelled."""
    exchange = connection.send(request)
    try:
        await exchange.head()
        return exchange, await exchange.body()
    except asyncio.CancelledError:
        connection.cancel(exchange)
        raise


@dataclass(frozen=True)
class Get:
    """A plain GET."""

    path: str
    headers: Headers

    async def ask(self, connection: Connection, _sample: Sample) -> None:
        """Ask once, or raise FailedError."""
        exchange, _ = await answer(connection, Request("GET", self.path, self.headers))
        good(exchange)


@dataclass(frozen=True)
class Tool:
    """A tool and what it is called with."""

    name: str
    arguments: dict[str, Any]


class LostSessionError(Exception):
    """The server does not know the session."""


@dataclass
class Mcp:
    """A client of MCP, which asks in either generation; it has one session in the older one."""

    path: str
    headers: Headers
    tool: Tool | None
    session: str | None = None
    renewed: int = 0
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _renewing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def stateless(self, connection: Connection, _sample: Sample) -> None:
        """Call the tool in the stateless era, or raise FailedError."""
        await self.call(connection, STATELESS)

    async def in_session(self, connection: Connection, sample: Sample) -> None:
        """Call the tool in the session; if that is gone, in another one, or raise FailedError."""
        if self.session is None:  # another call has found it gone, and no other came about yet
            sample.renewed = True
            await self._renew(connection, None)
        gone = self.session
        try:
            await self.call(connection, SESSION_ERA)
        except LostSessionError:
            sample.renewed = True
            await self._renew(connection, gone)
            try:
                await self.call(connection, SESSION_ERA)
            except LostSessionError:
                raise FailedError("status", "status 404 in a new session") from None

    async def initialize(self, connection: Connection) -> None:
        """Begin a session."""
        self.session = None
        params = {"protocolVersion": SESSION_ERA, "capabilities": {}, "clientInfo": WHO}
        exchange, _ = await self._post(connection, SESSION_ERA, "initialize", params)
        session = exchange.headers.get("mcp-session-id", "")
        head = (*self._head(SESSION_ERA), *((("mcp-session-id", session),) if session else ()))
        body = json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}).encode()
        exchange, _ = await answer(connection, Request("POST", self.path, head, body))
        good(exchange)
        self.session = session

    async def end(self, connection: Connection) -> None:
        """End the session, if there is one."""
        if self.session:
            head = (*self._head(SESSION_ERA), ("mcp-session-id", self.session))
            await answer(connection, Request("DELETE", self.path, head))

    async def call(self, connection: Connection, generation: str) -> None:
        """Call the tool."""
        if self.tool is None:
            raise FailedError("tool", "no tool to call")
        params = {"name": self.tool.name, "arguments": self.tool.arguments}
        _, result = await self._post(connection, generation, "tools/call", params)
        if result.get("isError"):
            raise FailedError("answer", f"the tool failed: {json.dumps(result)[:SHOWN]}")

    async def tools(self, connection: Connection, generation: str) -> list[dict[str, Any]]:
        """Return what the server offers, or raise FailedError."""
        if generation == SESSION_ERA and self.session is None:
            await self.initialize(connection)
        _, result = await self._post(connection, generation, "tools/list", {})
        return list(result.get("tools", []))

    async def _renew(self, connection: Connection, gone: str | None) -> None:
        """Begin another session, unless another call has done so by now."""
        async with self._renewing:
            if self.session in {gone, None}:
                await self.initialize(connection)
                self.renewed += 1

    def _head(self, generation: str) -> Headers:
        return (
            *self.headers,
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", generation),
        )

    async def _post(
        self, connection: Connection, generation: str, method: str, params: dict[str, Any]
    ) -> tuple[Exchange, dict[str, Any]]:
        """Return the answer and its result."""
        head = self._head(generation)
        session = None
        if generation == STATELESS:
            meta = {"protocolVersion": generation, "clientInfo": WHO, "clientCapabilities": {}}
            params = {**params, "_meta": {META + name: value for name, value in meta.items()}}
            head = (*head, ("mcp-method", method))
            if "name" in params:
                head = (*head, ("mcp-name", params["name"]))
        elif session := self.session:
            head = (*head, ("mcp-session-id", session))
        number = next(self._ids)  # of two at a time with one number, one may never be answered
        body = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        request = Request("POST", self.path, head, json.dumps(body).encode())
        exchange, content = await answer(connection, request)
        if session and exchange.status == HTTPStatus.NOT_FOUND:
            raise LostSessionError
        good(exchange)
        return exchange, _result(exchange, content)


def _result(exchange: Exchange, content: bytes) -> dict[str, Any]:
    """Return the result in an answer, which may be an event stream."""
    kind = exchange.headers.get("content-type", "")
    pieces = [content]
    if kind.startswith("text/event-stream"):
        lines = content.splitlines()
        pieces = [line.removeprefix(b"data:") for line in lines if line.startswith(b"data:")]
    for piece in pieces:
        try:
            message = json.loads(piece)
        except ValueError:
            continue  # an event without data primes a client to resume
        if isinstance(message, dict) and isinstance(message.get("result"), dict):
            return dict(message["result"])
    raise FailedError("answer", f"no result: {content[:SHOWN].decode(errors='replace')}")
