"""A foreign ASGI app without dependencies: it shows what reaches it and what it may do."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PLAIN = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain")],
}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve WebSocket echo anywhere, and the handlers below by their paths."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await echo(receive, send)
    else:
        handlers = {"/endless": endless, "/slow": slow, "/may": may}
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


async def slow(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Say that it starts, and two seconds later that it is done."""
    await send(PLAIN)
    await send({"type": "http.response.body", "body": b"started\n", "more_body": True})
    await asyncio.sleep(2)
    await send({"type": "http.response.body", "body": b"done\n"})


async def endless(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Send a line every tenth of a second for as long as the client listens."""
    await send(PLAIN)
    number = 0
    while True:
        await send({"type": "http.response.body", "body": b"%d\n" % number, "more_body": True})
        number += 1
        await asyncio.sleep(0.1)


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


async def answer(send: Send, content: object) -> None:
    """Answer with JSON."""
    start = {"type": "http.response.start", "status": 200}
    await send(start | {"headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})
