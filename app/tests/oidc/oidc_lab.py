"""A real identity provider, the composite that trusts it, a client, and a browser to go between."""

import asyncio
import json
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urljoin, urlsplit

import httpx2
import uvicorn
from codeintel.app import create_app
from codeintel.settings import Settings
from fastmcp import Client
from fastmcp.client.auth import OAuth
from key_value.aio.stores.memory import MemoryStore
from mcp_types import TextContent
from node_tools import NODE, install
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

HERE = Path(__file__).parent

SECRET = "a+b%2Fc/d:e f~"  # what Basic authentication must encode
ACCOUNTS = {
    "alice": {"email": "alice@example.com", "email_verified": True},
    "mallory": {"email": "mallory@example.com", "email_verified": True},
    "forger": {"email": "alice@example.com", "email_verified": False},
    "alice@example.com": {},  # a name that somebody has chosen
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def provider(
    callback: str, *, port: int = 0, claims_in_token: bool = False, seconds: int = 600
) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Run the provider; yield its issuer and the process."""
    options = {
        "packages": str(install(HERE)),
        "port": port,
        "secret": SECRET,
        "callback": callback,
        "accounts": ACCOUNTS,
        "claims_in_token": claims_in_token,
        "seconds": seconds,
    }
    command: list[str | Path] = [NODE / "bin/node", HERE / "provider.cjs", json.dumps(options)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            issuer = process.stdout.readline().strip()
            assert issuer, "the provider has not started"
            yield issuer, process
        finally:
            process.kill()


@asynccontextmanager
async def serving(settings: Settings, policy: str = "") -> AsyncIterator[str]:
    """Run the composite behind the provider at its public address; yield the address of /mcp.

    `policy` is the referrer policy that an edge gives to each page, in place of the page's own.
    """
    app = create_app(settings)
    port = int(settings.public_url.rsplit(":", 1)[1])

    async def edge(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_head(message: Message) -> None:
            if policy and message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Referrer-Policy"] = policy
            await send(message)

        await app(scope, receive, send_head)

    config = uvicorn.Config(edge, host="127.0.0.1", port=port, log_config=None, lifespan="on")
    running = uvicorn.Server(config)
    task = asyncio.create_task(running.serve())
    while not running.started:
        assert not task.done(), "the server has not started"
        await asyncio.sleep(0.01)
    try:
        yield settings.mcp_url
    finally:
        running.should_exit = True
        await task


class _Form(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.policy = ""
        self.fields: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = about.get("action", "")
        elif tag == "meta" and about.get("name") == "referrer":
            self.policy = about.get("content", "")
        elif tag == "input" and "name" in about:
            self.fields[about["name"]] = about.get("value", "")


@dataclass
class Browser:
    """Follows redirects and fills in forms, as `person`, until a page has none."""

    person: str
    answer: str = "approve"
    pages: list[httpx2.Response] = field(default_factory=list)

    async def visit(self, url: str, until: str = "\n") -> httpx2.Response:
        """Return the last page, or the redirect to an address that begins with `until`."""
        async with httpx2.AsyncClient(timeout=30) as client:
            request = client.build_request("GET", url)
            for _ in range(30):
                page = await self._send(client, request)
                self.pages.append(page)
                refresh = page.headers.get("refresh", "").partition("url=")[2]
                if location := page.headers.get("location", refresh):
                    if location.startswith(until):
                        return page
                    request = client.build_request("GET", urljoin(str(page.url), location))
                elif "<form" in page.text:
                    request = self._filled_in(client, page)
                else:
                    return page
        raise AssertionError("the flow does not end")

    async def _send(self, client: httpx2.AsyncClient, request: httpx2.Request) -> httpx2.Response:
        for _ in range(200):
            with suppress(httpx2.ConnectError):  # the client opens its port when it waits
                return await client.send(request)
            await asyncio.sleep(0.02)
        raise AssertionError(f"nobody listens at {request.url}")

    def _filled_in(self, client: httpx2.AsyncClient, page: httpx2.Response) -> httpx2.Request:
        form = _Form(page.text)
        answers = {"login": self.person, "password": "any"}
        fields = {name: answers.get(name, value) for name, value in form.fields.items()}
        if "csrf_token" in fields:
            fields["action"] = self.answer
        target = urljoin(str(page.url), form.action)
        policy = form.policy or page.headers.get("referrer-policy", "")
        headers = {"Origin": _origin(str(page.url), target, policy)}
        return client.build_request("POST", target, data=fields, headers=headers)


def _origin(page: str, target: str, policy: str) -> str:
    """Return where a browser says that a form is from (Fetch, 3.2)."""
    own, other = (f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, (page, target)))
    hidden = policy == "no-referrer" or (policy == "same-origin" and own != other)
    return "null" if hidden else own


class Visitor(OAuth):
    """FastMCP's own OAuth client; `browser` takes the place of the person's."""

    def __init__(self, url: str, browser: Browser | None, storage: MemoryStore) -> None:
        super().__init__(url, token_storage=storage, callback_timeout=30)
        self.browser = browser
        self.visit: asyncio.Task[httpx2.Response] | None = None

    async def redirect_handler(self, authorization_url: str) -> None:
        with patch("webbrowser.open", self._open):
            await super().redirect_handler(authorization_url)

    def _open(self, url: str) -> None:
        assert self.browser is not None, "the client has to sign in again"
        self.visit = asyncio.create_task(self.browser.visit(url))


async def call_tool(
    url: str, browser: Browser | None, storage: MemoryStore, tool: str = "grep"
) -> str:
    """Sign in if need be, and return what grep finds, or what another tool says."""
    visitor = Visitor(url, browser, storage)
    arguments = {"pattern": "needle"} if tool == "grep" else {}
    async with Client(url, auth=visitor) as client:
        result = await client.call_tool(tool, arguments)
    [content] = result.content
    assert isinstance(content, TextContent)
    return content.text


async def tokens_of(storage: MemoryStore, url: str) -> dict[str, Any]:
    """Return what the client has been given."""
    kept = await storage.get(f"{url}/tokens", collection="mcp-oauth-token")
    client = await storage.get(f"{url}/client_info", collection="mcp-oauth-client-info")
    assert kept is not None
    assert client is not None
    return {**kept, "client_id": client["client_id"]}


async def status_with(url: str, token: str) -> int:
    """Return the status of a request with `token`."""
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    about = {"name": "test", "version": "1"}
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": about}
    call = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    async with httpx2.AsyncClient(timeout=30) as client:
        answer = await client.post(url, json=call, headers=headers)
        return answer.status_code
