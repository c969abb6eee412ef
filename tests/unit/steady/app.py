"""An ASGI app that does to its clients what it is told to."""

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

INTERVAL = 0.05
STATUS = {"name": "status", "annotations": {"readOnlyHint": True}}

sessions: set[str] = set()
moods: set[str] = set()
streams: set[asyncio.Future[bool]] = set()  # each is told how to end: cleanly or not


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    path = scope["path"]
    if path == "/mcp":
        await mcp(scope, await body(receive), send)
    elif path == "/api/sse":
        await events(receive, send)
    elif path == "/slow":
        await asyncio.sleep(0.3)
        await reply(send, 200)
    elif path == "/moody":
        await reply(send, 429 if "refusing" in moods else 200)
    else:
        if path == "/refuse":
            moods.add("refusing")
        elif path == "/forget":
            sessions.clear()
        elif path == "/freeze":
            time.sleep(1)  # noqa: ASYNC251 - the whole server stands still
        elif path in {"/end", "/break"}:
            for stream in streams:
                stream.set_result(path == "/end")
            streams.clear()
        await reply(send, 200)


async def body(receive: Receive) -> bytes:
    content, more = b"", True
    while more:
        message = await receive()
        content += message.get("body", b"")
        more = message.get("more_body", False)
    return content


async def reply(
    send: Send, status: int, content: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    length = (b"content-length", b"%d" % len(content))
    head = {"type": "http.response.start", "status": status, "headers": [length, *headers]}
    await send(head)
    await send({"type": "http.response.body", "body": content})


async def mcp(scope: Scope, content: bytes, send: Send) -> None:
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    session = headers.get("mcp-session-id")
    if scope["method"] == "DELETE":
        sessions.discard(session or "")
        await reply(send, 200)
        return
    asked = json.loads(content)
    method = asked["method"]
    answer: dict[str, Any] = {}
    extra: tuple[tuple[bytes, bytes], ...] = ()
    if method == "initialize":
        session = secrets.token_hex(8)
        sessions.add(session)
        extra = ((b"mcp-session-id", session.encode()),)
    elif headers["mcp-protocol-version"] == "2025-11-25" and session not in sessions:
        await reply(send, 404)
        return
    elif method == "tools/list":
        answer = {"tools": [STATUS]}
    elif method == "tools/call":
        assert asked["params"]["name"] == "status"
    if "id" not in asked:
        await reply(send, 202)
        return
    message = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": answer}).encode()
    await reply(send, 200, message, ((b"content-type", b"application/json"), *extra))


async def events(receive: Receive, send: Send) -> None:
    """Send events until told to end or to break, or the client or the server goes."""
    told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    streams.add(told)
    head = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    gone = asyncio.create_task(disconnected(receive))
    either: list[asyncio.Future[Any]] = [told, gone]
    await send({"type": "http.response.body", "body": b"retry: 100\n\n", "more_body": True})
    while not told.done() and not gone.done():
        event = {"type": "http.response.body", "body": b"data: x\n\n", "more_body": True}
        await send(event)
        await asyncio.wait(either, timeout=INTERVAL, return_when=asyncio.FIRST_COMPLETED)
    gone.cancel()
    streams.discard(told)
    if told.done() and not told.result():
        raise RuntimeError("told to break")
    await send({"type": "http.response.body", "body": b""})


async def disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
