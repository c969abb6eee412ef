import base64
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from hashlib import sha256
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from threading import Thread
from typing import get_args
from urllib.parse import parse_qs, unquote, urlsplit

import httpx2
import pytest
import uvicorn
from codeintel import __version__
from codeintel.app import create_app
from codeintel.auth.passwords import hash_password
from codeintel.auth.store import AuthStore
from codeintel.auth.tokens import add_token
from codeintel.landing.clients import SIGN_IN, Auth, clients
from codeintel.landing.page import render
from codeintel.settings import Settings
from codeintel.store import index_path
from pydantic import SecretStr

pytestmark = pytest.mark.anyio

Index = Callable[..., object]
Serve = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]

URL = "https://mcp.example.com/mcp"
MODES: tuple[Auth, ...] = get_args(Auth)
EMPTY = {"meta", "link", "br", "hr", "img", "input"}


class Outline(HTMLParser):
    """The tags of a page, which must be nested and closed as they should."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in {"script", "style"}:
            self.text += data


def links(auth: Auth) -> dict[str, str]:
    return dict(step.link for client in clients(URL, auth) for step in client.steps if step.link)


def snippets(auth: Auth, name: str) -> list[str]:
    [steps] = [client.steps for client in clients(URL, auth) if client.name.startswith(name)]
    return [step.snippet for step in steps if step.snippet]


async def test_the_policy_allows_its_own_style_and_script_and_nothing_else(serve: Serve) -> None:
    async with serve() as client:
        page = await client.get("/")
        assert (await client.head("/")).status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(
        directive.strip().split(" ", 1)
        for directive in page.headers["content-security-policy"].split(";")
    )
    sources = {"default-src": "'none'", "base-uri": "'none'", "form-action": "'none'"}
    sources["frame-ancestors"] = "'none'"
    for tag in ("style", "script"):
        [text] = re.findall(f"<{tag}>(.*?)</{tag}>", page.text, re.DOTALL)
        digest = base64.b64encode(sha256(text.encode()).digest()).decode()
        sources[f"{tag}-src"] = f"'sha256-{digest}'"
    assert policy == sources
    assert "_blank" not in page.text


@pytest.mark.parametrize("auth", MODES)
def test_a_page_is_whole_and_needs_nothing_from_elsewhere(auth: Auth) -> None:
    outline = Outline(render(URL, auth, ready=True))
    names = {name for _, name, _ in outline.attributes}
    assert names.isdisjoint({"src", "srcset", "style", "onclick", "action", "background"})
    addresses = [value or "" for _, name, value in outline.attributes if name == "href"]
    assert {urlsplit(address).scheme for address in addresses} == {"cursor", "vscode"}
    assert URL in outline.text
    # Buttons are for the script to make: without it they would do nothing.
    assert "<button" not in render(URL, auth, ready=True)


async def test_a_visitor_learns_nothing_secret(
    serve: Serve, index: Index, settings: Settings
) -> None:
    index({"stealth.py": "secret = 1"}, "skunkworks")
    index_path(settings.index_dir, "broken-one").write_bytes(b"")
    async with serve() as client:
        text = (await client.get("/")).text
        assert "Ready" in text
    for secret in ("skunkworks", "broken-one", "stealth", __version__, str(settings.index_dir)):
        assert secret not in text


async def test_the_state_is_that_of_readyz_without_a_reason(
    settings: Settings, index: Index
) -> None:
    app = create_app(settings)
    transport = httpx2.ASGITransport(app)

    async def state(client: httpx2.AsyncClient) -> tuple[int, str]:
        page = await client.get("/")
        assert page.status_code == 200
        assert page.headers["cache-control"] == "no-cache"
        [shown] = re.findall('<dd id="state" class="[a-z]+">(.*?)</dd>', page.text)
        return (await client.get("/api/readyz")).status_code, shown

    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        async with app.router.lifespan_context(app):
            assert await state(client) == (503, "Not ready")
            index({"a.py": "1"}, "main")
            assert await state(client) == (200, "Ready")
        assert await state(client) == (503, "Not ready")


def test_each_mode_says_how_to_sign_in() -> None:
    shown = {auth: render(URL, auth, ready=True) for auth in MODES}
    assert "Owner&#x27;s password" in shown["owner"]
    assert "Identity provider" in shown["oidc"]
    assert "open to all" in shown["none"]
    assert "TOKEN" not in shown["none"]
    for auth, page in shown.items():
        assert ("choose OAuth" in page) == (auth in {"owner", "oidc"})


def test_an_address_cannot_break_out_of_the_page() -> None:
    outline = Outline(render("""https://a'">&<script>alert(1)</script>/mcp""", "owner", ready=True))
    assert "<script>alert(1)</script>" in outline.text
    assert sum(tag == "script" for tag, _, _ in outline.attributes) == 0


@pytest.mark.parametrize("auth", MODES)
def test_install_links_carry_what_the_files_would(auth: Auth) -> None:
    cursor, code = urlsplit(links(auth)["Add to Cursor"]), links(auth)["Add to VS Code"]
    assert (cursor.netloc, cursor.path) == ("anysphere.cursor-deeplink", "/mcp/install")
    query = parse_qs(cursor.query, strict_parsing=True)
    [name], [config] = query["name"], query["config"]
    [file] = [text for text in snippets(auth, "Cursor") if text.startswith("{")]
    assert json.loads(file) == {"mcpServers": {name: json.loads(base64.b64decode(config))}}

    prefix, _, encoded = code.partition("?")
    assert prefix == "vscode:mcp/install"
    assert re.fullmatch(r"[\w.~%-]+", encoded)
    server = json.loads(unquote(encoded))
    [file] = snippets(auth, "VS Code")
    inputs = {"inputs": server.pop("inputs")} if "inputs" in server else {}
    assert json.loads(file) == {"servers": {server.pop("name"): server}, **inputs}
    assert server["url"] == URL
    assert ("headers" in server) == (auth == "tokens")


@pytest.mark.parametrize("auth", MODES)
def test_tokens_are_asked_for_where_they_are_of_use(auth: Auth) -> None:
    """Clients that sign in themselves may leave a header out where the server offers to sign in."""
    [command, *_] = [text for text in snippets(auth, "Claude Code") if text.startswith("claude")]
    assert ("Authorization" in command) == (auth == "tokens")
    [curl] = [text for text in snippets(auth, "A script") if text.startswith("curl")]
    assert ("Authorization" in curl) == (auth != "none")
    for client in ("ChatGPT", "Claude (web"):
        assert (snippets(auth, client) == []) == (auth == "tokens")


@contextmanager
def listening(settings: Settings, **changes: object) -> Iterator[str]:
    """Serve on a port of this machine; yields the address of the endpoint."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        app = create_app(settings.model_copy(update={"public_url": url, **changes}))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        thread = Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield f"{url}/mcp"
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.parametrize("auth", ["owner", "tokens", "none"])
def test_what_a_script_copies_runs(
    settings: Settings, index: Index, tmp_path: Path, auth: Auth
) -> None:
    index({"a.py": "def check_passwords(): ...\n"}, "main")
    token = add_token(AuthStore(tmp_path), "script", None)

    def run(*command: str, token: str = token) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"MCP_TOKEN": token}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=30
        )

    password = SecretStr(hash_password("correct horse battery"))
    with listening(settings, auth=auth, state_dir=tmp_path, owner_password=password) as mcp_url:
        [steps] = [client.steps for client in clients(mcp_url, auth) if client.name == "A script"]
        *_, curl, program = [step.snippet for step in steps if step.snippet]
        assert escape(SIGN_IN[auth].name) in httpx2.get(mcp_url.removesuffix("mcp")).text
        listed = run("bash", "-c", curl)
        tools = json.loads(listed.stdout)["result"]["tools"]
        assert "search" in {tool["name"] for tool in tools}
        answered = run(sys.executable, "-c", program)
        assert "check_passwords" in answered.stdout, answered.stderr
        refused = run("bash", "-c", curl, token="made-up").stdout
        assert ("invalid_token" in refused) == (auth != "none")


def test_where_tokens_alone_come_in_nothing_offers_to_sign_in(
    settings: Settings, tmp_path: Path
) -> None:
    """Else a client, such as Cursor, would leave the header out in which it has the token."""
    with listening(settings, auth="tokens", state_dir=tmp_path) as mcp_url:
        refused = httpx2.post(mcp_url, json={})
        assert refused.status_code == 401
        assert "resource_metadata" not in refused.headers["www-authenticate"]
        for path in (
            "oauth-protected-resource",
            "oauth-protected-resource/mcp",
            "oauth-authorization-server",
            "openid-configuration",
        ):
            address = mcp_url.replace("/mcp", f"/.well-known/{path}")
            assert httpx2.get(address).status_code == 404, path
