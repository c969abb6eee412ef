"""The page at /: says what this is and where the endpoint is, and nothing else."""

import base64
from collections.abc import Awaitable, Callable
from hashlib import sha256
from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse

_STYLE = """
:root { color-scheme: light dark; }
body { font: 1.1rem/1.6 system-ui, sans-serif; }
body { max-width: 36rem; margin: 15vh auto; padding: 0 1rem; }
code { font-size: 1rem; padding: .2em .4em; border: 1px solid; border-radius: .3em; }
"""
_STYLE_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>codeintel</title>
<style>{style}</style>
</head>
<body>
<h1>codeintel</h1>
<p>An MCP server that answers questions about source code. Point your client at</p>
<p><code>{url}</code></p>
</body>
</html>
"""

_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def landing_page(mcp_url: str) -> Callable[[Request], Awaitable[HTMLResponse]]:
    """Return an endpoint that shows `mcp_url`."""
    html = _PAGE.format(style=_STYLE, url=escape(mcp_url))

    async def show(_request: Request) -> HTMLResponse:
        return HTMLResponse(html, headers=_HEADERS)

    return show
