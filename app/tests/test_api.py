import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from itertools import pairwise

import httpx2
import pytest
from codeintel import api as api_module
from codeintel.api import ticks
from codeintel.app import create_app
from codeintel.settings import Settings
from codeintel.store import index_path

pytestmark = pytest.mark.anyio

Index = Callable[..., object]
Serve = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


async def test_alive_without_an_index_but_not_ready(serve: Serve, index: Index) -> None:
    async with serve() as client:
        assert (await client.get("/api/livez")).json() == {"status": "alive"}
        unready = await client.get("/api/readyz")
        assert unready.status_code == 503
        assert "codeintel index" in unready.json()["checks"]["index"]["reason"]
        index({"a.py": "1"}, "main")
        ready = await client.get("/api/readyz")
        assert ready.status_code == 200
        assert ready.json() == {
            "status": "ready",
            "checks": {
                "serving": {"ok": True, "reason": None},
                "index": {"ok": True, "reason": None},
                "index:main": {"ok": True, "reason": None},
            },
        }


async def test_a_broken_index_is_a_failed_check(
    serve: Serve, index: Index, settings: Settings
) -> None:
    index({"a.py": "1"}, "main")
    index_path(settings.index_dir, "old").write_bytes(b"")
    async with serve() as client:
        response = await client.get("/api/readyz")
        assert response.status_code == 200
        assert response.json()["checks"]["index:old"]["ok"] is False
        assert "--name old" in response.json()["checks"]["index:old"]["reason"]


async def test_not_ready_while_draining(settings: Settings, index: Index) -> None:
    index({"a.py": "1"}, "main")
    app = create_app(settings)
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        async with app.router.lifespan_context(app):
            assert (await client.get("/api/readyz")).status_code == 200
        draining = await client.get("/api/readyz")
        assert draining.status_code == 503
        assert draining.json()["checks"]["serving"] == {"ok": False, "reason": "shutting down"}
        assert (await client.get("/api/livez")).status_code == 200
        async with app.router.lifespan_context(app):
            assert (await client.get("/api/readyz")).status_code == 200


async def test_capabilities_have_an_etag_that_follows_the_index(serve: Serve, index: Index) -> None:
    async with serve() as client:
        off = await client.get("/api/capz")
        assert off.json()["capabilities"]["text"]["on"] is False
        assert off.json()["capabilities"]["text"]["reason"]
        assert off.headers["etag"] == f'"{off.json()["stamp"]}"'
        for value in (off.headers["etag"], f'W/{off.headers["etag"]}, "x"', "*"):
            same = await client.get("/api/capz", headers={"If-None-Match": value})
            assert same.status_code == 304
            assert same.content == b""
            assert same.headers["etag"] == off.headers["etag"]
        index({"a.py": "1"}, "main")
        on = await client.get("/api/capz", headers={"If-None-Match": off.headers["etag"]})
        assert on.status_code == 200
        assert on.json()["capabilities"]["text"] == {"on": True, "reason": None}


async def test_the_stream_is_numbered_timed_and_unbuffered(serve: Serve) -> None:
    async with serve() as client:
        response = await client.get("/api/sse?interval=0.05&count=4")
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["cache-control"] == "no-store"
        events = [
            json.loads(line.removeprefix("data: "))
            for line in response.text.splitlines()
            if line.startswith("data: ")
        ]
        assert [event["sequence"] for event in events] == [0, 1, 2, 3]
        gaps = [b["monotonic"] - a["monotonic"] for a, b in pairwise(events)]
        assert min(gaps) > 0.03
        assert events[3]["monotonic"] - events[0]["monotonic"] >= 0.15


async def test_silence_is_broken_by_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "HEARTBEAT_SECONDS", 0.02)
    kinds = [event.partition("\n")[0] async for event in ticks(0.05, 2)]
    assert kinds == ["event: tick", ": keep-alive", ": keep-alive", "event: tick"]


@pytest.mark.parametrize(
    "query",
    [
        *("interval=0", "interval=-1", "interval=nan", "interval=inf", "interval=301"),
        *("count=0", "count=10001", "count=1.5", "interval=x", "interval=300&count=13"),
    ],
)
async def test_stream_parameters_are_bounded(serve: Serve, query: str) -> None:
    async with serve() as client:
        assert (await client.get(f"/api/sse?{query}")).status_code == 422


async def test_metrics_are_for_this_machine_only(serve: Serve, settings: Settings) -> None:
    async with serve() as client:
        local = await client.get("/api/metrics")
        assert local.status_code == 200
        assert local.headers["content-type"].startswith("text/plain")
        for name in ("X-Forwarded-For", "X-Forwarded-Proto", "Forwarded", "X-Real-IP", "Via"):
            proxied = await client.get("/api/metrics", headers={name: "127.0.0.1"})
            assert proxied.status_code == 404
            assert proxied.json() == {"detail": "Not Found"}
    app = create_app(settings)
    for base, peer in (
        ("http://localhost", "203.0.113.7"),
        # TLS ended in this process, behind a proxy that passes connections through.
        ("https://localhost", "127.0.0.1"),
    ):
        transport = httpx2.ASGITransport(app, client=(peer, 1))
        async with httpx2.AsyncClient(transport=transport, base_url=base) as client:
            assert (await client.get("/api/metrics")).status_code == 404
