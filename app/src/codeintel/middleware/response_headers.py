"""Make every response fit to pass a buffering proxy and HTTP/2 and HTTP/3."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# They concern one HTTP/1.1 connection; in HTTP/3 a single one of them is a protocol error
# for which clients close the whole connection. (RFC 9110 section 7.6.1, RFC 9114 section 4.2)
CONNECTION_HEADERS = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"te"}
)


class ResponseHeaders:
    """Keep event streams out of buffers and caches, and drop connection-specific headers."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, changing the head of its response."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [
                    (name.lower(), value)
                    for name, value in message.get("headers", ())
                    if name.lower() not in CONNECTION_HEADERS
                ]
                message = {**message, "headers": kept}
                headers = MutableHeaders(raw=kept)
                if headers.get("content-type", "").startswith("text/event-stream"):
                    headers["X-Accel-Buffering"] = "no"
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, send_head)
