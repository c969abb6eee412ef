"""The composite application: one ASGI app, one lifespan, one chain of middlewares."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

# FastMCP imports these two in the first call of a session, which stops all others for 0.3 s.
import key_value.aio.adapters.pydantic
import key_value.aio.stores.memory  # noqa: F401
from fastmcp import FastMCP
from fastmcp.server.http import HostOriginGuardMiddleware
from fastmcp.utilities.lifespan import combine_lifespans
from mcp.server.transport_security import RequestBodyLimitMiddleware
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from codeintel.api import build_api
from codeintel.auth import build_auth
from codeintel.certificate import CertificateDates
from codeintel.context import Capabilities, create_context
from codeintel.landing import landing_page
from codeintel.limiter import Limiter
from codeintel.logs import configure_logging
from codeintel.metrics import HttpMetrics, Metrics
from codeintel.middleware.access_log import AccessLog
from codeintel.middleware.mcp_endpoint import MCP_PATH, McpEndpoint
from codeintel.middleware.plain_forms import PlainForms
from codeintel.middleware.rate_limit import RateLimit
from codeintel.middleware.response_headers import ResponseHeaders
from codeintel.server import build_server
from codeintel.settings import Settings

MAX_BODY_BYTES = 4 << 20
"""Largest request body; the MCP SDK's own limit, here for every path."""

logger = logging.getLogger(__name__)


def create_app(settings: Settings, server: FastMCP | None = None) -> Starlette:
    """Return the application; `server` takes the place of the product's own MCP server.

    The tools of another server may send messages within a call, and so its answers are event
    streams. The product's own never do: its answers are JSON, which costs much less. (In the
    session era there is no choice by tool: it is one setting of the whole endpoint.)
    """
    context = create_context(settings)
    metrics = Metrics(CertificateDates(settings.certificate))
    if server is None:
        server, own = build_server(context, metrics, build_auth(settings)), True
    else:
        own = False
    api = build_api(context, metrics, server.auth)
    # Each request passes one of the three places; FastMCP's is behind its authentication.
    limit = settings.rate_limit
    store = settings.rate_limit_store.get_secret_value()
    limiter = Limiter(limit, "request", name="request", store=store) if limit else None
    limited = [Middleware(RateLimit, limiter=limiter)] if limiter else []
    # The host and origin guard stands in front of everything, not only of the MCP endpoint.
    # Without an event store, which costs each call a quarter more, streams cannot be resumed.
    mcp_app = server.http_app(
        path=MCP_PATH,
        middleware=limited,
        host_origin_protection=False,
        json_response=own,
        stateless_http=settings.stateless,
    )

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        configure_logging(settings.log_level)
        context.encoder.load()
        logger.info("started: %s", Capabilities.of(context).as_dict())
        yield
        logger.info("stopped")

    @asynccontextmanager
    async def drain(_app: Starlette) -> AsyncIterator[None]:
        context.draining.clear()
        yield
        context.draining.set()

    composite = Starlette(
        routes=[
            Route("/", landing_page(context), middleware=limited),
            Mount("/api", api, middleware=limited),
            # Last, because it answers for all other paths: OAuth routes live at the root.
            Mount("/", mcp_app),
        ],
        middleware=[
            Middleware(AccessLog),
            Middleware(HttpMetrics, metrics=metrics),
            Middleware(ResponseHeaders),
            Middleware(
                HostOriginGuardMiddleware,
                allowed_hosts=[settings.public_host],
                allowed_origins=[settings.public_url],
                mode="strict",
            ),
            Middleware(PlainForms),
            Middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BODY_BYTES),
            Middleware(McpEndpoint),
        ],
        lifespan=combine_lifespans(lifespan, mcp_app.lifespan, drain),
    )
    for app in (composite, api, mcp_app):
        app.router.redirect_slashes = False
        app.add_exception_handler(HTTPException, _http_error)
        app.add_exception_handler(Exception, _server_error)
    return composite


async def _http_error(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    if status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
        return Response(status_code=status, headers=headers)
    detail = error.detail if isinstance(error, HTTPException) else ""
    return JSONResponse({"detail": detail}, status, headers=headers)


async def _server_error(_request: Request, _error: Exception) -> Response:
    # The server logs the exception, which is raised again after this answer.
    return JSONResponse({"detail": HTTPStatus.INTERNAL_SERVER_ERROR.phrase}, 500)
