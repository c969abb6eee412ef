"""The app that ships ends TLS itself, its owner at the door: the way in, by each protocol."""

from __future__ import annotations

import base64
import json
import re
from hashlib import sha256
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from lab import PROTOCOLS, Answer, Curl

ORIGIN = "https://twin.test"
RESOURCE = f"{ORIGIN}/.well-known/oauth-protected-resource"
CALLBACK = "http://127.0.0.1:4321/callback"
PASSWORD = "a password of the tests"  # of the inventory
VERIFIER = "a-verifier-of-the-tests-that-is-long-enough"
TOOL = "status"


class Client:
    """An OAuth client and its browser, which speak one protocol only."""

    def __init__(self, curl: Curl, protocol: str) -> None:
        """Ask by this protocol."""
        self.curl, self.protocol = curl, protocol
        self.id = ""

    def get(self, path: str, *options: str) -> Answer:
        return self.curl(f"{ORIGIN}{path}", *options, protocol=self.protocol)

    def post(self, path: str, **form: str) -> Answer:
        return self.get(path, "--data", urlencode(form))

    def register(self) -> None:
        about = {"redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}
        kind = ("--header", "Content-Type: application/json")
        answer = self.get("/register", *kind, "--data", json.dumps(about))
        assert answer.status == 201, answer.body
        self.id = answer.json["client_id"]

    def consent(self) -> str:
        """Have the owner's browser say yes; return the code."""
        asked = {
            "client_id": self.id,
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "code_challenge": challenge(VERIFIER),
            "code_challenge_method": "S256",
            "state": "the state",
            "resource": f"{ORIGIN}/mcp",
        }
        led = self.get(f"/authorize?{urlencode(asked)}")
        assert led.status == 302, led.body
        assert led.headers["location"].startswith(f"{ORIGIN}/consent?")
        page = self.get(led.headers["location"].removeprefix(ORIGIN))
        form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.body))
        form |= {"decision": "allow", "password": PASSWORD}
        cookie = page.headers["set-cookie"].split(";")[0]
        browser = ("--header", f"Cookie: {cookie}", "--header", f"Origin: {ORIGIN}")
        decided = self.get("/consent", *browser, "--data", urlencode(form))
        [back] = re.findall(r'<a href="([^"]+)"', decided.body)
        answer = parse_qs(urlsplit(unescape(back)).query)
        assert unescape(back).startswith(f"{CALLBACK}?")
        assert (answer["state"], answer["iss"]) == (["the state"], [ORIGIN])
        return answer["code"][0]

    def exchange(self, code: str, verifier: str = VERIFIER) -> Answer:
        return self.post(
            "/token",
            grant_type="authorization_code",
            code=code,
            redirect_uri=CALLBACK,
            client_id=self.id,
            code_verifier=verifier,
        )

    def refresh(self, token: str) -> Answer:
        return self.post(
            "/token", grant_type="refresh_token", refresh_token=token, client_id=self.id
        )

    def call(self, token: str | None) -> Answer:
        """Call a tool, in the stateless era."""
        prefix = "io.modelcontextprotocol"
        meta = {
            f"{prefix}/protocolVersion": "2026-07-28",
            f"{prefix}/clientInfo": {"name": "tests", "version": "0"},
            f"{prefix}/clientCapabilities": {},
        }
        params = {"name": TOOL, "arguments": {}, "_meta": meta}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        headers = [
            *("Content-Type: application/json", "Accept: application/json, text/event-stream"),
            *("MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", f"Mcp-Name: {TOOL}"),
            *([f"Authorization: Bearer {token}"] if token else []),
        ]
        options = [option for header in headers for option in ("--header", header)]
        return self.get("/mcp", *options, "--data", json.dumps(body))


def challenge(verifier: str) -> str:
    """Return the challenge of PKCE."""
    return base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")


@pytest.fixture(scope="module", params=PROTOCOLS)
def visitor(curl: Curl, request: pytest.FixtureRequest) -> Client:
    return Client(curl, request.param)


@pytest.fixture(scope="module")
def tokens(visitor: Client) -> dict[str, Any]:
    """Come in once by each protocol: an address may try ten passwords in ten minutes."""
    visitor.register()
    code = visitor.consent()
    assert visitor.exchange(code, verifier="x" * 64).json["error"] == "invalid_grant"
    answer: dict[str, Any] = visitor.exchange(code).json
    return answer


def test_who_has_no_token_is_told_how_to_get_one(visitor: Client) -> None:
    refused = visitor.call(None)
    assert refused.status == 401
    assert f'resource_metadata="{RESOURCE}/mcp"' in refused.headers["www-authenticate"]
    assert visitor.call("wrong").status == 401
    for place in (RESOURCE, f"{RESOURCE}/mcp"):
        about = visitor.get(place.removeprefix(ORIGIN)).json
        assert about["resource"] == f"{ORIGIN}/mcp"
        assert about["authorization_servers"] == [ORIGIN]
    for name in ("oauth-authorization-server", "openid-configuration"):
        about = visitor.get(f"/.well-known/{name}").json
        assert about["issuer"] == ORIGIN
        assert about["token_endpoint"] == f"{ORIGIN}/token"
        assert about["code_challenge_methods_supported"] == ["S256"]


def test_what_says_how_the_app_does_needs_a_token(visitor: Client, tokens: dict[str, Any]) -> None:
    bearer = ("--header", f"Authorization: Bearer {tokens['access_token']}")
    for path, says in (("metrics", "codeintel_http_requests_total"), ("capz", "capabilities")):
        assert visitor.get(f"/api/{path}").status == 401
        answer = visitor.get(f"/api/{path}", *bearer)
        assert answer.status == 200
        assert says in answer.body


def test_in_by_the_password_and_on_by_refreshing(visitor: Client, tokens: dict[str, Any]) -> None:
    called = visitor.call(tokens["access_token"])
    assert called.status == 200
    assert "version" in called.body
    fresh = visitor.refresh(tokens["refresh_token"]).json
    assert fresh["refresh_token"] != tokens["refresh_token"]
    assert visitor.call(fresh["access_token"]).status == 200
    # What is brought again has been stolen from one of the two: both are out.
    assert visitor.refresh(tokens["refresh_token"]).json["error"] == "invalid_grant"
    for token in (tokens["access_token"], fresh["access_token"]):
        assert visitor.call(token).status == 401
    assert visitor.refresh(fresh["refresh_token"]).json["error"] == "invalid_grant"
