"""One line of JSON for each request, where no proxy in front writes one."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

from .asgi import App, Message, Receive, Scope, Send, header_values
from .networks import network_of

_FAILED = 500  # what Hypercorn answers for an app that did not
_GONE = 499  # as nginx says it: the client left before there was an answer
_VERSIONS = {"1.0": "HTTP/1.0", "1.1": "HTTP/1.1", "2": "HTTP/2.0", "3": "HTTP/3.0"}
_SWITCHED = 101
_FORBIDDEN = 403  # what a refused WebSocket is told
_TOO_MANY = 429


class AccessLog:
    """Write a line when a response has ended, that of an event stream when the stream has.

    What a client cannot choose comes first, and what it can choose is escaped to ASCII: nothing
    that it sends begins a line or a field. The path is as it was sent, not decoded.
    """

    def __init__(self, app: App, write: Callable[[str], object]) -> None:
        """Call `write` with each line, without its end."""
        self._app = app
        self._write = write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request and note what became of it."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        begin = time.monotonic()
        status, size, gone = 0, 0, False

        async def receive_noted() -> Message:
            nonlocal gone
            message = await receive()
            gone = gone or message["type"] == "http.disconnect"
            return message

        async def send_noted(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "websocket.accept":
                status = _SWITCHED
            elif message["type"] == "websocket.close" and not status:
                status = _TOO_MANY if _is_limited(scope) else _FORBIDDEN
            elif "status" in message:
                status = message["status"]
            size += len(message.get("body") or message.get("bytes") or message.get("text") or b"")
            await send(message)

        try:
            await self._app(scope, receive_noted, send_noted)
        finally:
            status = status or (_GONE if gone else _FAILED)
            self._write(_line(scope, status, size, time.monotonic() - begin))


def flood_line(client: tuple[str, int], http_version: str) -> str:
    """Return the line of a connection that was ended because its client asks far too much."""
    scope: Scope = {
        "client": client,
        "http_version": http_version,
        "scheme": "https",
        "method": "",
        "raw_path": b"",
        "query_string": b"",
        "headers": [],
        "edge.request_limit": "REJECTED",
    }
    return _line(scope, _TOO_MANY, 0, 0)


def _line(scope: Scope, status: int, size: int, seconds: float) -> str:
    client = scope.get("client")
    query = scope["query_string"]
    target = scope["raw_path"] + (b"?" + query if query else b"")
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "status": str(status),
        "address": client[0] if client else "unix:",
        "net": network_of(client[0]) if client else "unix:",
        "protocol": _VERSIONS.get(scope["http_version"], scope["http_version"]),
        "bytes_out": str(size),
        "seconds": f"{seconds:.3f}",
        "scheme": scope["scheme"],
        "host": _first(scope, b"host"),
        "method": scope.get("method", "GET"),
        "uri": target.decode("latin-1"),
        "user_agent": _first(scope, b"user-agent"),
        "request_limit": scope.get("edge.request_limit", ""),
        "concurrency_limit": scope.get("edge.concurrency_limit", ""),
    }
    return json.dumps(entry, separators=(",", ":"))


def _is_limited(scope: Scope) -> bool:
    limits = ("edge.request_limit", "edge.concurrency_limit")
    return "REJECTED" in {scope.get(limit) for limit in limits}


def _first(scope: Scope, name: bytes) -> str:
    values = header_values(scope["headers"], name)
    return values[0] if values else ""
