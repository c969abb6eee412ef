"""Set headers on every response."""

from collections.abc import Mapping

from .asgi import App, Message, Receive, Scope, Send

_HEADS = {"http.response.start", "websocket.http.response.start"}


class ResponseHeaders:
    """Set given headers on every response of the app, in place of its own of the same name."""

    def __init__(self, app: App, headers: Mapping[str, str]) -> None:
        """Set `headers`, a table of name to value."""
        self._app = app
        self._set = [(k.lower().encode(), v.encode("latin-1")) for k, v in headers.items()]
        self._names = {name for name, _ in self._set}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, changing the head of its response."""

        async def send_head(message: Message) -> None:
            if message["type"] in _HEADS:
                own = message.get("headers", ())
                kept = [(name, value) for name, value in own if name.lower() not in self._names]
                message = {**message, "headers": kept + self._set}
            await send(message)

        await self._app(scope, receive, send_head if self._set else send)
