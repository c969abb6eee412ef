"""End what would never end by itself, so that a stop waits for calls and not for streams."""

import asyncio
from collections.abc import Callable

from .asgi import App, Message, Receive, Scope, Send

_SERVICE_RESTART = 1012
_HEADS = {"http.response.start", "websocket.accept"}


class Drain:
    """End event streams and WebSockets once a stop has begun, and any that begin later.

    A response to GET with the type text/event-stream gets an empty last body; a WebSocket is
    closed with 1012. Hypercorn then tells the app that the client is gone. All other requests go
    on, also a POST that is answered by an event stream: that is a call.
    """

    def __init__(self, app: App) -> None:
        """Wrap `app`."""
        self._app = app
        self._begun = False
        self._endless: set[_Endless] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self) -> None:
        """End all endless responses, in the background, and those to come as soon as they begin."""
        self._begun = True
        self.end_all()

    def end_all(self) -> None:
        """End the endless responses of now."""
        for endless in list(self._endless):
            task = asyncio.ensure_future(endless.end())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "websocket" and scope.get("method") != "GET":
            await self._app(scope, receive, send)
            return
        endless = _Endless(send, self._began)
        try:
            await self._app(scope, receive, endless.send)
        finally:
            self._endless.discard(endless)

    def _began(self, endless: "_Endless") -> bool:
        self._endless.add(endless)
        return self._begun


class _Endless:
    """The sending side of one GET or WebSocket, which `end` may take from the app."""

    def __init__(self, send: Send, began: Callable[["_Endless"], bool]) -> None:
        self._send = send
        self._began = began
        self._last: Message | None = None  # None until it is known to be endless
        self._ended = False
        self._lock = asyncio.Lock()  # never a message after, or within, the last one

    async def send(self, message: Message) -> None:
        async with self._lock:
            if not self._ended:
                self._ended = self._last is not None and _is_last(message)
                await self._send(message)
                if message["type"] not in _HEADS or (last := _last_message(message)) is None:
                    return
                self._last = last
                if not self._began(self):
                    return
        await self.end()
        await asyncio.sleep(0)  # an app that sends in a loop must not hold up the others

    async def end(self) -> None:
        async with self._lock:
            if self._last is not None and not self._ended:
                self._ended = True
                await self._send(self._last)


def _last_message(head: Message) -> Message | None:
    """Return what ends the response that begins with `head`; None where it ends by itself."""
    if head["type"] == "websocket.accept":
        return {"type": "websocket.close", "code": _SERVICE_RESTART}
    for name, value in head.get("headers", ()):
        if name.lower() == b"content-type" and value.lower().startswith(b"text/event-stream"):
            return {"type": "http.response.body", "body": b"", "more_body": False}
    return None


def _is_last(message: Message) -> bool:
    if message["type"] == "http.response.body":
        return not message.get("more_body", False)
    return bool(message["type"] == "websocket.close")
