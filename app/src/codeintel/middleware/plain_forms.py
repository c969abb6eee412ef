"""Refuse forms in parts, which nothing here needs."""

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class PlainForms:
    """Answer 415 to a multipart form; OAuth and browsers send theirs url-encoded.

    In parts, the sender chooses the charset, and with some of these good bytes become text that no
    bytes can hold: whatever hashes or stores it fails. Files would come along as well.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        app = self._app
        if scope["type"] == "http":
            kind = Headers(scope=scope).get("content-type", "").lower()
            if "multipart/" in kind:
                app = JSONResponse(
                    {"detail": "send forms as application/x-www-form-urlencoded"}, 415
                )
        await app(scope, receive, send)
