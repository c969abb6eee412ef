"""Asking a server on a unix socket what a client would ask, before clients reach it."""

import json
import os
import secrets
from pathlib import Path
from typing import Any

import httpx2

from codeintel.auth.store import AuthStore
from codeintel.auth.tokens import add_token, revoke_token
from codeintel.errors import CodeintelError

_VERSION = "2026-07-28"
_TOOL = "status"
_NAMESPACE = "io.modelcontextprotocol/"
_SECONDS = 20
_TOKEN_SECONDS = 60
_OK = 200
_UNAUTHORIZED = 401


def probe(socket: Path, state_dir: Path) -> str:
    """Return in words how the server answered; raises CodeintelError if it does not as it should.

    A server that wants a token gets one, which is valid for as long as this takes. One that takes
    none of ours, as its clients come from an identity provider, has answered by asking for it.
    """
    transport = httpx2.HTTPTransport(uds=str(socket))
    try:
        with httpx2.Client(
            transport=transport, base_url="http://localhost", timeout=_SECONDS
        ) as client:
            _ask_whether_ready(client)
            answer = _call(client, None)
            if answer.status_code == _UNAUTHORIZED:
                answer = _call_with_token(client, state_dir)
                if answer.status_code == _UNAUTHORIZED:
                    return "ready, and asks clients for a token of its identity provider"
    except httpx2.HTTPError as error:
        raise CodeintelError(f"{socket} does not answer: {error!r}") from error
    _see_result(answer)
    return f"ready, and {_TOOL} answers"


def _ask_whether_ready(client: httpx2.Client) -> None:
    """Raise CodeintelError unless the server is ready, or lacks nothing but a first index."""
    answer = client.get("/api/readyz")
    if answer.status_code == _OK:
        return
    try:
        checks: dict[str, Any] = answer.json()["checks"]
    except (ValueError, KeyError) as error:
        raise CodeintelError(f"/api/readyz answers {answer.status_code}") from error
    reasons = [f"{name}: {check['reason']}" for name, check in checks.items() if not check["ok"]]
    if set(checks) - {"index"} != {name for name, check in checks.items() if check["ok"]}:
        raise CodeintelError(f"not ready: {'; '.join(reasons)}")


def _call_with_token(client: httpx2.Client, state_dir: Path) -> httpx2.Response:
    store = AuthStore(state_dir)
    name = f"probe-{os.getpid()}-{secrets.token_hex(4)}"
    token = add_token(store, name, _TOKEN_SECONDS)
    try:
        return _call(client, token)
    finally:
        revoke_token(store, name)


def _call(client: httpx2.Client, token: str | None) -> httpx2.Response:
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": _VERSION,
        "Mcp-Method": "tools/call",
        "Mcp-Name": _TOOL,
    }
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    about = {
        "protocolVersion": _VERSION,
        "clientInfo": {"name": "codeintel probe", "version": "1"},
        "clientCapabilities": {},
    }
    meta = {_NAMESPACE + key: value for key, value in about.items()}
    params = {"name": _TOOL, "arguments": {}, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return client.post("/mcp", json=body, headers=headers)


def _see_result(answer: httpx2.Response) -> None:
    text = answer.text
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        text = next((line[6:] for line in text.splitlines() if line.startswith("data: ")), "")
    try:
        result = json.loads(text)["result"]
        right = answer.status_code == _OK and not result.get("isError")
    except (ValueError, KeyError, TypeError):
        right = False
    if not right:
        raise CodeintelError(f"{_TOOL} answers {answer.status_code}: {text[:300]}")
