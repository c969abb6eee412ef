"""The HTTP API under /api: health, capabilities, metrics, and a probe for event streams."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastmcp.server.auth import AuthProvider
from prometheus_client import CONTENT_TYPE_LATEST

from codeintel.context import ApplicationContext, Capabilities
from codeintel.metrics import Metrics
from codeintel.peer import is_this_machine

HEARTBEAT_SECONDS = 15.0
"""Longest silence on an event stream; proxies and mobile networks cut at 30 s and more."""

MAX_STREAM_SECONDS = 3600.0


def build_api(
    context: ApplicationContext, metrics: Metrics, auth: AuthProvider | None = None
) -> FastAPI:
    """Return the application to mount at /api; what tells something is for whom `auth` lets in."""
    # The documentation pages would load scripts from elsewhere, and which release runs is not for
    # everybody to know: the version is that of these paths.
    api = FastAPI(title="codeintel", version="1", docs_url=None, redoc_url=None)

    async def is_admitted(request: Request) -> bool:
        """Say whether somebody on this machine or with a token asks, or anybody may know."""
        if auth is None or is_this_machine(request):
            return True
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and await auth.verify_token(token) is not None

    async def admitted(request: Request) -> None:
        """Let in who is admitted; raises HTTPException for others."""
        if not await is_admitted(request):
            raise HTTPException(401, "a token is needed", {"WWW-Authenticate": "Bearer"})

    @api.get("/livez")
    async def livez() -> dict[str, str]:
        """Answer as long as the event loop turns."""
        return {"status": "alive"}

    @api.get("/readyz", responses={503: {"description": "No index opens, or draining."}})
    async def readyz(request: Request) -> JSONResponse:
        """Say whether tools can answer; check by check, with names, to who is admitted."""
        indexes = context.indexes.scan()
        draining = context.draining.is_set()
        checks = {
            "serving": {"ok": not draining, "reason": "shutting down" if draining else None},
            "index": {"ok": bool(indexes.ready), "reason": indexes.reason},
            **{
                f"index:{name}": {"ok": name in indexes.ready, "reason": indexes.broken.get(name)}
                for name in sorted({*indexes.ready, *indexes.broken})
            },
        }
        ready = context.ready(indexes)
        body: dict[str, object] = {"status": "ready" if ready else "unavailable"}
        if await is_admitted(request):
            body["checks"] = checks
        return JSONResponse(body, 200 if ready else 503, headers={"Cache-Control": "no-store"})

    @api.get(
        "/capz",
        responses={
            304: {"description": "Unchanged since the given ETag."},
            401: {"description": "From outside, without a token."},
        },
        dependencies=[Depends(admitted)],
    )
    async def capz(request: Request) -> Response:
        """Show what the server can do; the ETag changes when that does."""
        capabilities = Capabilities.of(context)
        stamp = capabilities.stamp()
        headers = {"ETag": f'"{stamp}"', "Cache-Control": "no-cache"}
        if _matches(request.headers.getlist("if-none-match"), stamp):
            return Response(status_code=304, headers=headers)
        return JSONResponse({**capabilities.as_dict(), "stamp": stamp}, headers=headers)

    @api.get("/sse")
    async def sse(
        interval: Annotated[float, Query(ge=0.01, le=300)] = 1.0,
        count: Annotated[int, Query(ge=1, le=10_000)] = 10,
    ) -> StreamingResponse:
        """Send `count` events, `interval` seconds apart, to measure what the edge does to them."""
        if interval * count > MAX_STREAM_SECONDS:
            raise HTTPException(422, f"interval x count is over {MAX_STREAM_SECONDS:g} seconds")
        return StreamingResponse(ticks(interval, count), media_type="text/event-stream")

    @api.get("/metrics", include_in_schema=False, dependencies=[Depends(admitted)])
    async def show_metrics(request: Request) -> Response:
        """Serve Prometheus on this machine, or with a token; else there is nothing here."""
        if auth is None and not is_this_machine(request):
            raise HTTPException(404)
        text = metrics.render(context.indexes.scan().ready)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return api


async def ticks(interval: float, count: int) -> AsyncIterator[str]:
    """Yield server-sent events with a sequence number and the time of sending.

    `monotonic` and `epoch` are seconds; the schedule is absolute, so that delays in sending
    do not add up. A comment breaks every silence of `HEARTBEAT_SECONDS`.
    """
    started = time.monotonic()
    for sequence in range(count):
        due = started + sequence * interval
        while (left := due - time.monotonic()) > 0:
            await asyncio.sleep(min(left, HEARTBEAT_SECONDS))
            if due - time.monotonic() > 0:
                yield ": keep-alive\n\n"
        data = {"sequence": sequence, "monotonic": time.monotonic(), "epoch": time.time()}
        yield f"event: tick\ndata: {json.dumps(data)}\n\n"


def _matches(if_none_match: list[str], stamp: str) -> bool:
    """Compare weakly, as If-None-Match demands (RFC 9110 section 13.1.2)."""
    tags = {tag.strip().removeprefix("W/") for tag in ",".join(if_none_match).split(",")}
    return "*" in tags or f'"{stamp}"' in tags
