"""Refuse request bodies above a size."""

import asyncio

from .asgi import App, Message, Receive, Scope, Send, header_values

_BODY = b'{"error":"request body too large","status":413}'
_LINGER = 2.0  # seconds


class BodyLimit:
    """Answer 413 by what content-length says, or once more bytes have come than are allowed."""

    def __init__(self, app: App, limit: int) -> None:
        """Allow `limit` bytes; 0 allows any number."""
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http" or not self._limit:
            await self._app(scope, receive, send)
            return
        lengths = header_values(scope["headers"], b"content-length")
        if any(length.isdecimal() and int(length) > self._limit for length in lengths):
            await _refuse(scope, receive, send)
            return

        received = 0
        started = refused = False

        async def receive_counted() -> Message:
            nonlocal received, refused
            if refused:
                return {"type": "http.disconnect"}
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                refused = True
                if not started:
                    await _refuse(scope, receive, send)
                return {"type": "http.disconnect"}
            return message

        async def send_unless_refused(message: Message) -> None:
            nonlocal started
            if refused and not started:
                await asyncio.sleep(0)  # an app that sends in a loop must not hold up the others
                return
            started = True
            await send(message)

        await self._app(scope, receive_counted, send_unless_refused)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(_BODY)),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": _BODY, "more_body": True})
    if scope["http_version"].startswith("1"):
        # The end of the response closes the connection. While the client still sends, that is a
        # TCP reset, which may overtake the answer: give the client time to read it first.
        try:
            async with asyncio.timeout(_LINGER):
                while (await receive()).get("more_body"):
                    pass
        except TimeoutError:
            pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
