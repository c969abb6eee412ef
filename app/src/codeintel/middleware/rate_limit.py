"""The last backstop behind the edge against clients that ask too often."""

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from codeintel.limiter import Limiter, RateLimitError
from codeintel.peer import client_key

UNLIMITED = frozenset({"/api/livez", "/api/readyz", "/api/metrics"})
"""Paths of those who watch the service, as the server has decoded them."""


class RateLimit:
    """Answer 429 to a client that asks too often. A request counts once, when it begins.

    Where it stands decides who is counted: behind authentication the verified token, elsewhere the
    address. A request whose token turns out to be wrong counts against its address.
    """

    def __init__(self, app: ASGIApp, limiter: Limiter) -> None:
        """Limit the requests to `app`; several places may share one `limiter`."""
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        if scope["type"] == "http" and scope["path"] not in UNLIMITED:
            try:
                if (client := client_key(scope)) is not None:
                    await self._limiter.count(client)
            except RateLimitError as excess:
                headers = {"Retry-After": str(excess.wait)}
                response = JSONResponse({"detail": str(excess)}, 429, headers)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)
