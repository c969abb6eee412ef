"""A tiny ASGI app: one path for each thing that a server can get wrong."""

import asyncio
import gc
import json
import logging
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

STREAM = [(b"content-type", b"text/event-stream")]
HOP_BY_HOP = [(b"Connection", b"keep-alive"), (b"keep-alive", b"timeout=5"), (b"X-Kept", b"1")]
if "ROOT_HANDLER" in os.environ:  # as apps do that log by themselves
    logging.basicConfig()

live: dict[str, int] = {"streams": 0, "sent": 0, "slow": 0}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    else:
        handler = HANDLERS.get(scope["path"].strip("/"), not_found)
        await handler(scope, receive, send)


async def lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await asyncio.sleep(float(os.environ.get("STARTUP", "0")))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("lifespan ended", flush=True)
    await send({"type": "lifespan.shutdown.complete"})


async def websocket(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    live["streams"] += 1
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})
    live["streams"] -= 1


async def reply(send: Send, body: bytes, status: int = 200, headers: Any = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def not_found(_scope: Scope, _receive: Receive, send: Send) -> None:
    await reply(send, b"not found", 404)


async def hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    await reply(send, b"hello", 200, [(b"content-type", b"text/plain"), (b"server", b"app")])


async def hop_by_hop(_scope: Scope, _receive: Receive, send: Send) -> None:
    await reply(send, b"hello", 200, HOP_BY_HOP)


async def show_scope(scope: Scope, _receive: Receive, send: Send) -> None:
    shown = {name: scope[name] for name in ("client", "scheme", "http_version", "method", "path")}
    await reply(send, json.dumps(shown).encode())


async def show_live(_scope: Scope, _receive: Receive, send: Send) -> None:
    await reply(send, json.dumps(live).encode())


async def show_frozen(_scope: Scope, _receive: Receive, send: Send) -> None:
    await reply(send, json.dumps({"frozen": gc.get_freeze_count()}).encode())


async def echo_length(_scope: Scope, receive: Receive, send: Send) -> None:
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        length, more = length + len(message["body"]), message["more_body"]
    await reply(send, str(length).encode())


async def slow(_scope: Scope, _receive: Receive, send: Send) -> None:
    live["slow"] += 1
    await asyncio.sleep(3)
    await reply(send, b"done")


async def never_reads(_scope: Scope, _receive: Receive, send: Send) -> None:
    await asyncio.sleep(5)
    await reply(send, b"done")


async def reads_late(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(1)
    await echo_length(scope, receive, send)


async def events(_scope: Scope, receive: Receive, send: Send) -> None:
    """Send an event each 100 ms until the client has gone, as frameworks do."""
    live["streams"] += 1
    try:
        await send({"type": "http.response.start", "status": 200, "headers": STREAM})
        sender = asyncio.ensure_future(send_events(send))
        while (await receive())["type"] != "http.disconnect":
            pass
        sender.cancel()
    finally:
        live["streams"] -= 1


async def begins_late(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(1)
    await events(scope, receive, send)


async def send_events(send: Send) -> None:
    number = 0
    while True:
        event = b"data: %d\n\n" % number
        await send({"type": "http.response.body", "body": event, "more_body": True})
        number += 1
        await asyncio.sleep(0.1)


async def call_with_events(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answer a POST by an event stream that ends after 2 s, as MCP does."""
    await send({"type": "http.response.start", "status": 200, "headers": STREAM})
    for number in range(5):
        await asyncio.sleep(0.4)
        event = b"data: %d\n\n" % number
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b"data: end\n\n", "more_body": True})
    await asyncio.sleep(0.1)
    await send({"type": "http.response.body"})


async def large(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Send 20 MB in pieces of 100 kB, and note how many were taken."""
    live["streams"] += 1
    live["sent"] = 0
    try:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(200):
            piece = bytes([number]) * 100_000
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            live["sent"] += 1
        await send({"type": "http.response.body", "body": b""})
    finally:
        live["streams"] -= 1


async def fails(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise RuntimeError("the app failed")


async def freeze(_scope: Scope, _receive: Receive, _send: Send) -> None:
    time.sleep(60)  # noqa: ASYNC251


async def raises(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise RuntimeError("the app failed")


async def trailers(_scope: Scope, _receive: Receive, send: Send) -> None:
    start = {"type": "http.response.start", "status": 200, "headers": [], "trailers": True}
    await send(start)
    await send({"type": "http.response.body", "body": b"body"})
    await send({"type": "http.response.trailers", "headers": [(b"checksum", b"1")]})


async def show_pid(_scope: Scope, _receive: Receive, send: Send) -> None:
    await reply(send, str(os.getpid()).encode())


HANDLERS = {
    "": hello,
    "begins-late": begins_late,
    "call": call_with_events,
    "events": events,
    "fails": fails,
    "freeze": freeze,
    "hop": hop_by_hop,
    "large": large,
    "late": reads_late,
    "length": echo_length,
    "live": show_live,
    "frozen": show_frozen,
    "pid": show_pid,
    "raises": raises,
    "scope": show_scope,
    "slow": slow,
    "stuck": never_reads,
    "trailers": trailers,
}
