"""What the MCP endpoint needs from the layer above it."""

import re

from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MCP_PATH = "/mcp"

_ODD_ID = re.compile(rb'"(?:i|\\u0069)(?:d|\\u0064)"\s*+:\s*+(?!"|-?[0-9]++\s*+[,}])')
"""An id, somewhere, that is neither a string nor an integer: what is worth a second parser."""


class McpEndpoint:
    """Serve ``/mcp/`` as ``/mcp``, and refuse what the SDK takes for something else.

    A redirect would lose the body in some clients and, behind TLS, name the wrong scheme.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`, which serves the endpoint at exactly ``/mcp``."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"] in {MCP_PATH, f"{MCP_PATH}/"}:
            scope = {**scope, "path": MCP_PATH, "raw_path": MCP_PATH.encode()}
            if scope["method"] == "GET" and Headers(scope=scope).get("last-event-id"):
                # The SDK answers 500 here when it has no event store.
                refusal = _refusal("streams cannot be resumed; drop Last-Event-ID")
                await refusal(scope, receive, send)
                return
            if scope["method"] == "POST":
                await self._serve_message(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _serve_message(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request whose id is none; the SDK takes it for a notification.

        It is looked at when the SDK asks for it, behind authentication; the layer in front has put
        it into one piece.
        """
        refused = answered = False

        async def checked() -> Message:
            nonlocal refused
            message = await receive()
            body = message.get("body", b"")
            if _ODD_ID.search(body) and _lacks_id(body):
                refused = True
                return {**message, "body": b""}
            return message

        async def answer(message: Message) -> None:
            nonlocal answered
            if not refused:
                await send(message)
            elif not answered:
                answered = True
                await _refusal("id must be a string or an integer")(scope, receive, send)

        await self._app(scope, checked, answer)


def _lacks_id(body: bytes) -> bool:
    """Say whether this is a request with an id that cannot be one."""
    try:
        message = from_json(body)
    except ValueError:  # which the SDK says better
        return False
    if not isinstance(message, dict) or not {"id", "method"} <= message.keys():
        return False
    return isinstance(message["id"], bool) or not isinstance(message["id"], int | str)


def _refusal(reason: str) -> JSONResponse:
    error = {"code": -32600, "message": reason}
    return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, 400)
