"""One line of the log for each request."""

import logging
import re
import time
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codeintel.logs import REQUEST_ID
from codeintel.peer import is_from_edge

logger = logging.getLogger(__name__)

_IDENTIFIER = re.compile(r"[A-Za-z0-9._-]{1,64}")


class AccessLog:
    """Write the line when the response has ended; that of an event stream, when the stream has.

    Every other line that is written for the request has the same ``request_id``.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Log the requests to `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve and log one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500  # what a server sends when the application sends nothing

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        token = REQUEST_ID.set(_request_id(scope))
        try:
            await self._app(scope, receive, note)
        finally:
            client = scope.get("client")
            request = {
                "client": client[0] if client else "unix:",
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "seconds": round(time.perf_counter() - began, 4),
            }
            logger.info("request", extra={"fields": request})
            REQUEST_ID.reset(token)


def _request_id(scope: Scope) -> str:
    """Return what the edge calls the request, or a new name: a client must not choose it."""
    given = Headers(scope=scope).get("x-request-id", "") if is_from_edge(scope) else ""
    return given if _IDENTIFIER.fullmatch(given) else uuid4().hex
