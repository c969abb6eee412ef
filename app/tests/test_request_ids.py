"""No two requests of a session have one id at a time; else the SDK mixes up their answers."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from codeintel.app import create_app
from codeintel.middleware.mcp_endpoint import MCP_PATH, McpEndpoint
from codeintel.settings import Settings
from fastmcp import FastMCP
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from .test_mcp import ACCEPT, INITIALIZE, request, stateless

pytestmark = pytest.mark.anyio

Index = Callable[..., object]
Run = Callable[[Starlette], AbstractAsyncContextManager[httpx2.AsyncClient]]


@dataclass
class Held:
    """A session of a server whose tool `hold` answers what it was told, but not before `go`."""

    app: Starlette
    client: httpx2.AsyncClient
    headers: dict[str, str]
    go: asyncio.Event
    calls: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    def start(self, identifier: object, word: str) -> asyncio.Task[httpx2.Response]:
        return asyncio.create_task(self.post(call(identifier, word)))

    async def begun(self) -> None:
        """Wait until the tool has begun with one more call."""
        async with asyncio.timeout(5):
            await self.calls.acquire()

    async def post(self, body: object, **headers: str) -> httpx2.Response:
        async with asyncio.timeout(5):
            return await self.client.post("/mcp", json=body, headers=self.headers | headers)

    async def works(self, identifier: object) -> None:
        """See that the id can be used."""
        self.go.set()
        answer = await self.post(call(identifier, "again"))
        assert (answer.status_code, '"again"' in answer.text) == (200, True)


def call(identifier: object, word: str, tool: str = "hold") -> dict[str, Any]:
    params = {"name": tool, "arguments": {"word": word}}
    return {**request("tools/call", params), "id": identifier}


def refused(answer: httpx2.Response) -> bool:
    if answer.status_code != 409:
        assert answer.status_code in {200, 202}
        return False
    said = answer.json()
    assert (said["jsonrpc"], said["id"], said["error"]["code"]) == ("2.0", None, -32600)
    assert "is the id of a request that is still being served" in said["error"]["message"]
    return True


@pytest.fixture(params=["events", "json"])
async def held(settings: Settings, run: Run, request: pytest.FixtureRequest) -> AsyncIterator[Held]:
    """Answer by event streams, as for another server's tools, and by JSON, as for the own ones."""
    server = FastMCP("slow")
    go = asyncio.Event()

    @server.tool
    async def hold(word: str) -> str:
        state.calls.release()
        await go.wait()
        return word

    @server.tool
    async def fail(word: str) -> str:
        raise ValueError(word)

    if request.param == "events":
        app = create_app(settings, server)
    else:
        endpoint = [Middleware(McpEndpoint)]
        app = server.http_app(
            MCP_PATH, middleware=endpoint, json_response=True, host_origin_protection=False
        )
    async with run(app) as client:
        opened = await client.post("/mcp", json=INITIALIZE, headers=ACCEPT)
        headers = {**ACCEPT, "Mcp-Session-Id": opened.headers["mcp-session-id"]}
        state = Held(app, client, headers, go)
        yield state
        go.set()


async def test_the_second_is_refused_at_once_and_the_first_answered(held: Held) -> None:
    first = held.start(7, "first")
    await held.begun()
    for _ in range(3):
        assert refused(await held.post(call(7, "second")))
    held.go.set()
    answer = await first
    assert (answer.status_code, '"first"' in answer.text) == (200, True)
    await held.works(7)


async def test_the_product_itself_refuses_it(settings: Settings, run: Run, index: Index) -> None:
    index({"a.py": "needle"}, "main")
    body = request("tools/call", {"name": "grep", "arguments": {"pattern": "needle"}})
    async with run(create_app(settings)) as client:
        opened = await client.post("/mcp", json=INITIALIZE, headers=ACCEPT)
        headers = {**ACCEPT, "Mcp-Session-Id": opened.headers["mcp-session-id"]}
        for _ in range(3):
            async with asyncio.timeout(5):
                answers = await asyncio.gather(
                    *(client.post("/mcp", json=body, headers=headers) for _ in range(4))
                )
            assert [refused(answer) for answer in answers] == [False, True, True, True]
            assert "needle" in answers[0].text


@pytest.mark.parametrize(
    ("identifier", "same"),
    [
        (7, True),
        ("7", True),  # one to the SDK, which keeps them as text
        (8, False),
        ("seven", False),
        (-7, False),
    ],
)
async def test_which_ids_are_one(held: Held, identifier: object, *, same: bool) -> None:
    first = held.start(7, "first")
    await held.begun()
    ping = {**request("ping"), "id": identifier}
    assert refused(await held.post(ping)) == same
    held.go.set()
    assert '"first"' in (await first).text


@pytest.mark.parametrize(
    "message",
    [
        {
            "jsonrpc": "2.0",
            "id": 7,
            "result": {},
        },  # to a request of the server's, which has own ids
        {"jsonrpc": "2.0", "id": 7, "error": {"code": 1, "message": "x", "data": {"method": 1}}},
        {"jsonrpc": "2.0", "method": "notifications/initialized", "params": {"id": 7}},
        {**call(8, "x", "fail"), "params": {"name": "fail", "arguments": {"word": "x", "id": 7}}},
    ],
)
async def test_what_else_has_that_id_passes(held: Held, message: dict[str, Any]) -> None:
    first = held.start(7, "first")
    await held.begun()
    assert not refused(await held.post(message))
    assert refused(await held.post(call(7, "second")))
    held.go.set()
    assert '"first"' in (await first).text


async def test_another_session_and_none_have_ids_of_their_own(held: Held) -> None:
    first = held.start(1, "first")
    await held.begun()
    opened = await held.client.post("/mcp", json=INITIALIZE, headers=ACCEPT)
    other = {"Mcp-Session-Id": opened.headers["mcp-session-id"]}
    assert not refused(await held.post(request("tools/list"), **other))
    body, headers = stateless("tools/call", {"name": "hold", "arguments": {"word": "none"}})
    calls = [asyncio.create_task(held.post(body, **headers)) for _ in range(2)]
    for _ in calls:
        await held.begun()
    held.go.set()
    for each in calls:
        assert '"none"' in (await each).text
    assert '"first"' in (await first).text


async def test_an_error_frees_the_id(held: Held) -> None:
    for _ in range(2):
        assert "isError" in (await held.post(call(7, "x", "fail"))).text
    await held.works(7)


async def test_a_cancelled_request_frees_the_id(held: Held) -> None:
    first = held.start(7, "first")
    await held.begun()
    params = {"requestId": 7}
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
    assert (await held.post(cancelled)).status_code == 202
    assert "cancelled" in (await first).text
    await held.works(7)


async def test_an_end_of_the_serving_task_frees_the_id(held: Held) -> None:
    first = held.start(7, "first")
    await held.begun()
    first.cancel()
    await asyncio.wait([first])
    held.go.set()
    await asyncio.sleep(0.05)  # the tool, which the SDK lets run on
    await held.works(7)


def raw(held: Held) -> Scope:
    """Return what a server would call the application with."""
    headers = {**held.headers, "Host": "localhost", "Content-Type": "application/json"}
    return {
        "type": "http",
        "method": "POST",
        "path": "/mcp",
        "query_string": b"",
        "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        "client": ("127.0.0.1", 1),
    }


def sender(body: object) -> tuple[Receive, asyncio.Event]:
    """Return what sends `body` and, once the event is set, is gone."""
    gone = asyncio.Event()
    coming = [{"type": "http.request", "body": json.dumps(body).encode()}]

    async def receive() -> Message:
        if coming:
            return coming.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    return receive, gone


async def test_a_client_that_is_gone_frees_the_id(held: Held) -> None:
    receive, gone = sender(call(7, "first"))

    async def send(_message: Message) -> None:
        return None

    first = asyncio.create_task(held.app(raw(held), receive, send))
    await held.begun()
    assert refused(await held.post(call(7, "second")))
    gone.set()
    held.go.set()
    async with asyncio.timeout(5):
        await first
    await held.works(7)


async def test_who_has_read_the_end_can_use_the_id_again(held: Held) -> None:
    """Before the server has returned from sending it."""
    receive, _ = sender(call(7, "first"))
    held.go.set()
    ends = []

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            await held.works(7)
            ends.append(message)

    async with asyncio.timeout(5):
        await held.app(raw(held), receive, send)
    assert len(ends) == 1


# What stands in a message, as text: ids that are one and that are not, in several spellings.
TOKENS = st.sampled_from(["1", '"1"', '"\\u0031"', "2", '"a"', '"\\u0061"', '"\\"id\\":1"', "-0"])
KEYS = st.sampled_from(['"id"', '"\\u0069d"', '"i\\u0064"', '"\\u0069\\u0064"'])
INSIDE = st.sampled_from(["{}", '{"id":1}', '{"id":null}', '{"x":"\\"id\\":1"}', '{"id":"a"}'])


@st.composite
def bodies(draw: st.DrawFn) -> str:
    space = draw(st.sampled_from(["", " ", "\n"]))
    identifier = f"{draw(KEYS)}{space}:{space}{draw(TOKENS)}{space}"
    method, inside = '"method":"x"', draw(INSIDE)
    parts = draw(
        st.sampled_from(
            [[identifier, method, f'"params":{inside}']] * 4
            + [[identifier, f'"result":{inside}'], [method, f'"params":{inside}'], [identifier]]
        )
    )
    return f"{{{','.join(draw(st.permutations(parts)))}}}" + draw(
        st.sampled_from(["", "", "", "}"])
    )


@dataclass
class Served:
    """A message that was sent: what its end shall be, and what came of it."""

    ending: asyncio.Future[str]
    task: asyncio.Task[int | None]
    key: tuple[str, str] | None


async def serve_one(scope: Scope, receive: Receive, send: Send) -> None:
    body = (await receive())["body"]
    if not body:  # what the SDK gets in place of what is refused
        await Response(status_code=400)(scope, receive, send)
        return
    if await scope["ending"] == "error":
        raise RuntimeError
    await Response("x")(scope, receive, send)


async def play(steps: list[tuple[str, str, int, str]]) -> None:
    """Send messages and end them; the model reads each as JSON, and keeps those that are served."""
    endpoint = McpEndpoint(serve_one)
    served: list[Served] = []

    async def post(session: str, body: str, ending: asyncio.Future[str]) -> int | None:
        status = None

        async def receive() -> Message:
            return {"type": "http.request", "body": body.encode()}

        async def send(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)

        headers = [(b"mcp-session-id", session.encode())]
        scope = {"type": "http", "method": "POST", "path": "/mcp", "headers": headers}
        await endpoint({**scope, "ending": ending}, receive, send)
        return status

    for session, body, number, ending in steps:
        if ending:
            if served:
                last = served.pop(number % len(served))
                if ending == "cancel":
                    last.task.cancel()
                else:
                    last.ending.set_result(ending)
                await asyncio.wait([last.task])
                if ending == "answer":
                    assert last.task.result() == 200
            continue
        key = read(session, body)
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(post(session, body, future))
        for _ in range(5):
            await asyncio.sleep(0)
        taken = key is not None and key in {other.key for other in served}
        assert task.done() == taken
        if taken:
            assert task.result() == 409
        else:
            served.append(Served(future, task, key))
    for each in served:
        each.ending.set_result("answer")
        assert await each.task == 200
    assert not endpoint._serving  # nothing else shows that it does not grow


def read(session: str, body: str) -> tuple[str, str] | None:
    """Return session and id of what is a request."""
    try:
        message = json.loads(body)
    except ValueError:
        return None
    return (session, str(message["id"])) if {"id", "method"} <= message.keys() else None


STEPS = st.tuples(
    st.sampled_from(["s", "s", "t"]),
    bodies(),
    st.integers(0, 9),
    st.sampled_from([""] * 4 + ["answer", "cancel", "error", "answer"]),
)


@given(steps=st.lists(STEPS, max_size=25))
@examples(max_examples=200, deadline=None)
def test_whatever_is_sent_and_however_it_ends(steps: list[tuple[str, str, int, str]]) -> None:
    asyncio.run(play(steps))
