"""The page at /: what this is, whether it is ready, and how its owner connects each client.

Anybody can read it, so it names no repository and no version, and says of the state no more than
yes or no.
"""

import base64
from collections.abc import Awaitable, Callable
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import HTMLResponse

from codeintel.context import ApplicationContext
from codeintel.landing.page import SCRIPT, STYLE, render

__all__ = ["landing_page"]


def landing_page(context: ApplicationContext) -> Callable[[Request], Awaitable[HTMLResponse]]:
    """Return an endpoint that shows the state of `context`, and how to connect to it."""
    settings = context.settings
    pages = {ready: render(settings.mcp_url, settings.auth, ready=ready) for ready in (True, False)}

    async def show(_request: Request) -> HTMLResponse:
        return HTMLResponse(pages[context.ready(context.indexes.scan())], headers=_HEADERS)

    return show


def _source(text: str) -> str:
    """Return what allows exactly this style or script."""
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"


_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src {_source(STYLE)}; "
    f"script-src {_source(SCRIPT)}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
