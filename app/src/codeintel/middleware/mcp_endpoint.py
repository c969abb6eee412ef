"""What the MCP endpoint needs from the layer above it."""

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

MCP_PATH = "/mcp"


class McpEndpoint:
    """Serve ``/mcp/`` as ``/mcp``, and refuse to resume streams that nobody stored.

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
                error = {"code": -32600, "message": "streams cannot be resumed; drop Last-Event-ID"}
                response = JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, 400)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)
