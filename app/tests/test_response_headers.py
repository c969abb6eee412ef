import anyio
import pytest
from codeintel.middleware.response_headers import ResponseHeaders
from starlette.types import Message, Receive, Scope, Send


def head(*headers: tuple[str, str]) -> dict[str, str]:
    """Return the response headers after the middleware, by name."""
    sent: list[Message] = []
    raw = tuple((name.encode(), value.encode()) for name, value in headers)

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        await send({"type": "http.response.body", "body": b"x"})

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    anyio.run(ResponseHeaders(app), {"type": "http"}, receive, send)
    assert sent[1]["body"] == b"x"
    return {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}


def test_event_streams_are_neither_buffered_nor_stored() -> None:
    headers = head(("Content-Type", "text/event-stream; charset=utf-8"))
    assert headers["x-accel-buffering"] == "no"
    assert headers["cache-control"] == "no-store"


def test_a_cache_control_of_the_stream_stays() -> None:
    headers = head(("content-type", "text/event-stream"), ("cache-control", "no-cache"))
    assert headers["cache-control"] == "no-cache"


def test_other_responses_stay_as_they_are() -> None:
    assert head(("content-type", "application/json"), ("x-own", "1")) == {
        "content-type": "application/json",
        "x-own": "1",
    }


@pytest.mark.parametrize(
    "name", ["Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "TE"]
)
def test_connection_headers_are_dropped(name: str) -> None:
    assert head((name, "x"), ("x-own", "1")) == {"x-own": "1"}
