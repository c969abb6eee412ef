"""What the MCP endpoint needs from the layer above it."""

import re
from typing import Any

from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MCP_PATH = "/mcp"

_IDS = re.compile(
    rb'"(?:i|\\u0069)(?:d|\\u0064)"\s*+:\s*+("(?:[^"\\]++|\\.)*+"|-?[0-9]++(?=\s*+[,}])|)',
    re.DOTALL,
)
"""The ids in a message, wherever; what is neither a string nor an integer is empty."""


class McpEndpoint:
    """Serve ``/mcp/`` as ``/mcp``, and refuse what the SDK takes for something else.

    A redirect would lose the body in some clients and, behind TLS, name the wrong scheme.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`, which serves the endpoint at exactly ``/mcp``."""
        self._app = app
        self._serving: dict[tuple[str, str], bytes] = {}
        """The messages that are being served, by session and id."""

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
        """Refuse a request whose id is none, or that of a request of the session that is served.

        The SDK takes the one for a notification, and gives the answers of the other to the wrong
        request. A message is looked at when the SDK asks for it, behind authentication; the layer
        in front has put it into one piece.
        """
        session = _session(Headers(scope=scope))
        refusal: Response | None = None
        answered = False
        key, body = None, b""

        async def checked() -> Message:
            nonlocal refusal, key, body
            message = await receive()
            found = _IDS.findall(message.get("body", b""))
            if not found:
                return message
            body = message["body"]
            if b"" in found and _lacks_id(body):
                refusal = _refusal("id must be a string or an integer")
            elif session and (identifier := _id(body, found)):
                key = (session, identifier)
                if not self._begin(key, body):
                    taken = f"{identifier[:40]} is the id of a request that is still being served"
                    refusal = _refusal(f"{taken}; give each request of a session its own", 409)
            return {**message, "body": b""} if refusal else message

        async def answer(message: Message) -> None:
            nonlocal answered
            if refusal is None:
                # The SDK is done with the id by then, and who reads the end may use it again.
                if message["type"] == "http.response.body" and not message.get("more_body"):
                    self._end(key, body)
                await send(message)
            elif not answered:
                answered = True
                await refusal(scope, receive, send)

        try:
            await self._app(scope, checked, answer)
        finally:
            self._end(key, body)

    def _begin(self, key: tuple[str, str], body: bytes) -> bool:
        """Note that `body` is served, unless it and another one there are requests with one id."""
        other = self._serving.get(key)
        # Only now does it matter what they are; the common message is not parsed here.
        if other is None or not _request(other):
            self._serving[key] = body
            return True
        return not _request(body)

    def _end(self, key: tuple[str, str] | None, body: bytes) -> None:
        if key and self._serving.get(key) is body:
            del self._serving[key]


def _session(headers: Headers) -> str | None:
    """Return the session of a request, if its generation of the protocol has sessions."""
    version = headers.get("mcp-protocol-version")
    if version is None or version in HANDSHAKE_PROTOCOL_VERSIONS:
        return headers.get("mcp-session-id")
    return None


def _id(body: bytes, found: list[bytes]) -> str | None:
    """Return the id of a message in which these were `found`, as the SDK keeps it: as text."""
    try:
        message = {"id": from_json(found[0])} if len(found) == 1 else from_json(body)
        return str(message["id"]) if isinstance(message, dict) and "id" in message else None
    except ValueError:
        return None


def _request(body: bytes) -> dict[str, Any] | None:
    """Return the request that this is, and not an answer or a notification with an id in it."""
    try:
        message = from_json(body)
    except ValueError:  # which the SDK says better
        return None
    return message if isinstance(message, dict) and {"id", "method"} <= message.keys() else None


def _lacks_id(body: bytes) -> bool:
    """Say whether this is a request with an id that cannot be one."""
    request = _request(body)
    if request is None:
        return False
    return isinstance(request["id"], bool) or not isinstance(request["id"], int | str)


def _refusal(reason: str, status: int = 400) -> JSONResponse:
    error = {"code": -32600, "message": reason}
    return JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, status)
