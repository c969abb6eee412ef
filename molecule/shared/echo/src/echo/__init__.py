"""A foreign ASGI app without dependencies: it shows what reaches it and what it may do.

It is no example of a good app: some handlers behave as badly as an app may, to see whether the
server in front bears it.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import hashlib
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

BLOCK = 65536  # bytes of a piece of a download
HEARTBEAT = 15  # seconds that an event stream may be silent
RESOLUTION = 0.002  # seconds by which uvloop may wake up too early
alive: collections.Counter[str] = collections.Counter()  # handlers that run now, by path


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve WebSocket echo anywhere, and the handlers below by their paths."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        with counted("websocket"):
            await echo(receive, send)
    else:
        handlers = {
            "/download": download,
            "/early": early,
            "/endless": endless,
            "/events": events,
            "/live": live,
            "/may": may,
            "/slow": slow,
            "/unread": unread,
            "/upload": upload,
        }
        await handlers.get(scope["path"], headers)(scope, receive, send)


async def lifespan(receive: Receive, send: Send) -> None:
    """Start and stop with the server."""
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


async def echo(receive: Receive, send: Send) -> None:
    """Send back each WebSocket message."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send(
            {"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")}
        )


async def headers(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with all that came with the request."""
    body = b""
    more = True
    while more:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
    seen = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    await answer(
        send,
        {
            "method": scope["method"],
            "path": scope["path"],
            "raw_path": scope["raw_path"].decode("latin-1"),
            "scheme": scope["scheme"],
            "client": scope["client"],
            "headers": seen,
            "body_bytes": len(body),
        },
    )


async def upload(_scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the length and the SHA-256 of the body."""
    digest = hashlib.sha256()
    length = 0
    more = True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        piece = event.get("body", b"")
        digest.update(piece)
        length += len(piece)
        more = event.get("more_body", False)
    await answer(send, {"length": length, "sha256": digest.hexdigest()})


async def download(scope: Scope, _receive: Receive, send: Send) -> None:
    """Send bytes=N: piece number I is SHAKE128 of I in decimal."""
    length = int(parameters(scope).get("bytes", "0"))
    await start(send, b"application/octet-stream", (b"content-length", b"%d" % length))
    for number, begin in enumerate(range(0, length, BLOCK)):
        piece = hashlib.shake_128(b"%d" % number).digest(min(length - begin, BLOCK))
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


async def early(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer 404 at once, without a look at the body: so does every router."""
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"not found\n"})


async def unread(scope: Scope, receive: Receive, send: Send) -> None:
    """Begin an answer, leave the body unread for seconds=N (20), then read on to the disconnect."""
    with counted("unread"):
        await start(send, b"text/plain")
        await send({"type": "http.response.body", "body": b"started\n", "more_body": True})
        await asyncio.sleep(float(parameters(scope).get("seconds", "20")))
        await disconnected(receive)


async def slow(scope: Scope, _receive: Receive, send: Send) -> None:
    """Say that it starts, and seconds=N (2) later that it is done."""
    await start(send, b"text/plain")
    await send({"type": "http.response.body", "body": b"started\n", "more_body": True})
    await asyncio.sleep(float(parameters(scope).get("seconds", "2")))
    await send({"type": "http.response.body", "body": b"done\n"})


async def endless(_scope: Scope, receive: Receive, send: Send) -> None:
    """Send a line every tenth of a second for as long as the client listens."""
    await start(send, b"text/plain")
    await tick(receive, send, "%d\n", 0.1)


async def events(scope: Scope, receive: Receive, send: Send) -> None:
    """Send an event every interval=N seconds (1), and heartbeats where that is a long time."""
    with counted("events"):
        await start(send, b"text/event-stream", (b"cache-control", b"no-store"))
        await tick(receive, send, "data: %d\n\n", float(parameters(scope).get("interval", "1")))


async def tick(receive: Receive, send: Send, form: str, interval: float) -> None:
    """Send a number at once and every interval seconds, until the client is gone."""
    loop = asyncio.get_running_loop()
    gone = asyncio.create_task(disconnected(receive))
    number = 0
    due = loop.time()
    try:
        while not gone.done():
            text = ": heartbeat\n\n"
            if loop.time() >= due - RESOLUTION:
                text = form % number
                number += 1
                due += interval
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
            await asyncio.wait([gone], timeout=min(HEARTBEAT, max(0, due - loop.time())))
    finally:
        gone.cancel()


async def live(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Tell how many of the long handlers run now, and in which process."""
    names = ("events", "unread", "websocket")
    await answer(send, {"pid": os.getpid()} | {name: alive[name] for name in names})


async def may(scope: Scope, _receive: Receive, send: Send) -> None:
    """Try what the query asks for: write=FOLDER, connect=ADDRESS:PORT; read=SECRET of the unit."""
    results: dict[str, str] = {}
    for action, values in parse_qs(scope["query_string"].decode()).items():
        for value in values:
            try:
                results[f"{action} {value}"] = await asyncio.to_thread(attempt, action, value)
            except OSError as error:
                results[f"{action} {value}"] = f"refused: {error.strerror}"
    await answer(send, results)


def attempt(action: str, value: str) -> str:
    """Do one thing and say how it went; raises OSError where the sandbox forbids it."""
    if action == "write":
        path = Path(value, "written-by-echo")
        path.write_text("x")
        path.unlink()
        return "done"
    if action == "connect":
        address, _, port = value.rpartition(":")
        socket.create_connection((address, int(port)), timeout=3).close()
        return "done"
    return Path(os.environ["CREDENTIALS_DIRECTORY"], value).read_text()


def parameters(scope: Scope) -> dict[str, str]:
    """Return the query's parameters, of each name the first."""
    return {name: found[0] for name, found in parse_qs(scope["query_string"].decode()).items()}


@contextlib.contextmanager
def counted(name: str) -> Iterator[None]:
    """Count a handler as alive."""
    alive[name] += 1
    try:
        yield
    finally:
        alive[name] -= 1


async def disconnected(receive: Receive) -> None:
    """Read on until the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def start(send: Send, content_type: bytes, *others: tuple[bytes, bytes]) -> None:
    """Begin an answer."""
    head = [(b"content-type", content_type), *others]
    await send({"type": "http.response.start", "status": 200, "headers": head})


async def answer(send: Send, content: object) -> None:
    """Answer with JSON."""
    await start(send, b"application/json")
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})
