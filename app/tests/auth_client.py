"""An OAuth client and its browser, step by step, so that a test can do each step wrongly."""

import base64
import re
import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

ORIGIN = "https://mcp.example.com"
CALLBACK = "http://127.0.0.1:4321/callback"
PASSWORD = "correct horse battery"


@dataclass
class OAuthClient:
    """Speaks to a server through `http`, whose cookies are those of the browser."""

    http: httpx2.AsyncClient
    callback: str = CALLBACK
    client_id: str = ""
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    state: str = "the state"

    async def register(self, **changes: object) -> httpx2.Response:
        metadata = {
            "client_name": "A <b>client</b>",
            "redirect_uris": [self.callback],
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
        }
        answer = await self.http.post("/register", json=metadata | changes)
        self.client_id = answer.json().get("client_id", self.client_id)
        return answer

    async def authorize(self, **changes: str | None) -> httpx2.Response:
        challenge = base64.urlsafe_b64encode(sha256(self.verifier.encode()).digest())
        asked: dict[str, str | None] = {
            "client_id": self.client_id,
            "redirect_uri": self.callback,
            "response_type": "code",
            "code_challenge": challenge.decode().rstrip("="),
            "code_challenge_method": "S256",
            "state": self.state,
            "resource": f"{ORIGIN}/mcp",
        }
        given = {name: value for name, value in (asked | changes).items() if value is not None}
        return await self.http.get("/authorize", params=given)

    async def form(self) -> dict[str, str]:
        """Return the fields of the page that asks the owner."""
        page = await self.http.get((await self.authorize()).headers["location"])
        assert page.status_code == 200
        return dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text)) | {"decision": "allow"}

    async def decide(self, form: dict[str, str], password: str = PASSWORD) -> httpx2.Response:
        headers = {"Origin": ORIGIN}
        return await self.http.post("/consent", data=form | {"password": password}, headers=headers)

    async def code(self) -> str:
        decided = await self.decide(await self.form())
        assert decided.status_code == 200, decided.text
        return query_of(decided)["code"]

    async def exchange(self, code: str, **changes: str | None) -> httpx2.Response:
        form: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.callback,
            "client_id": self.client_id,
            "code_verifier": self.verifier,
            "resource": f"{ORIGIN}/mcp",
        }
        given = {name: value for name, value in (form | changes).items() if value is not None}
        return await self.http.post("/token", data=given)

    async def refresh(self, token: str, **changes: str) -> httpx2.Response:
        form = {"grant_type": "refresh_token", "refresh_token": token, "client_id": self.client_id}
        return await self.http.post("/token", data=form | changes)

    async def tokens(self) -> dict[str, Any]:
        await self.register()
        answer = await self.exchange(await self.code())
        assert answer.status_code == 200, answer.text
        tokens: dict[str, Any] = answer.json()
        return tokens

    async def call(self, token: str | None, path: str = "/mcp") -> httpx2.Response:
        """Ask the endpoint what it is, in the stateless era."""
        about = "io.modelcontextprotocol/"
        version = "2026-07-28"
        meta = {
            f"{about}protocolVersion": version,
            f"{about}clientInfo": {"name": "test", "version": "0"},
            f"{about}clientCapabilities": {},
        }
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
        headers = {
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": version,
            "Mcp-Method": "tools/list",
        }
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return await self.http.post(path, json=body, headers=headers)


def leads_to(answer: httpx2.Response) -> str:
    """Return the address that an answer leads to: a redirect, or the page after the decision."""
    if "location" in answer.headers:
        return answer.headers["location"]
    [refreshed] = re.findall(r'http-equiv="refresh" content="0;url=([^"]+)"', answer.text)
    [linked] = re.findall(r'<a href="([^"]+)"', answer.text)
    assert refreshed == linked
    return unescape(linked)


def query_of(answer: httpx2.Response) -> dict[str, str]:
    """Return the query of the address that an answer leads to."""
    query = parse_qs(urlsplit(leads_to(answer)).query)
    return {name: values[0] for name, values in query.items()}
