"""Let an app answer without having read the request."""

import asyncio

from .asgi import App, Message, Receive, Scope, Send


class Unread:
    """Discard what an app has left unread once it has answered.

    Hypercorn queues ten messages for an app. With more of them left, the end of the response
    waited for ever for room to tell the app that it was over, even after the client had gone.
    """

    def __init__(self, app: App) -> None:
        """Wrap `app`."""
        self._app = app
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        gone: Message | None = None
        read = ended = False

        async def receive_noted() -> Message:
            nonlocal gone, read
            if gone is not None:
                await asyncio.sleep(0)
                return gone
            message = await receive()
            if message["type"] == "http.disconnect":
                gone = message
            read = read or not message.get("more_body", False)
            return message

        async def discard() -> None:
            while gone is None:
                await receive_noted()

        def start_discarding() -> asyncio.Task[None]:
            task = asyncio.ensure_future(discard())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return task

        async def send_noted(message: Message) -> None:
            nonlocal ended
            last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if read or not last:
                await send(message)
                return
            ended = True
            discarding = start_discarding()
            try:
                await send(message)
            finally:
                discarding.cancel()

        try:
            await self._app(scope, receive_noted, send_noted)
        finally:
            if not (read or ended or gone):
                start_discarding()  # ends when Hypercorn has answered, or cut off, the client
