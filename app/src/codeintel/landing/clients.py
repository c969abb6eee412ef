"""How each client is connected, by how clients come in. docs/connect.md says what was tried."""

import base64
import json
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

Auth = Literal["owner", "tokens", "oidc", "none"]

NAME = "codeintel"
"""What clients call this server."""

TOKEN = "MCP_TOKEN"  # noqa: S105 - the name of a variable
"""The environment variable that the examples keep a token in."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """What a client meets on its way in."""

    name: str
    intro: str
    """For the owner, above the clients."""
    browser: str
    """What happens in the browser that a client opens; empty where it opens none."""


_MAKE = "on the host, codeintel token add NAME makes one and shows it once"

SIGN_IN: dict[Auth, SignIn] = {
    "owner": SignIn(
        "Owner's password",
        "This is for the owner. A client that connects opens a page of this server, which says "
        f"who asks for what and wants the password. Scripts have a token: {_MAKE}.",
        "A page of this server opens. See who asks, then type the owner's password.",
    ),
    "tokens": SignIn(
        "Token",
        f"This is for the owner. Each client has a token: {_MAKE}.",
        "",
    ),
    "oidc": SignIn(
        "Identity provider",
        "This is for those whom the owner lets in. A client that connects opens the page of the "
        f"identity provider. Scripts have a token: {_MAKE}.",
        "The page of the identity provider opens. Sign in there.",
    ),
    "none": SignIn(
        "None: open to all",
        "Whoever reaches this server may use it; nothing asks who comes.",
        "",
    ),
}


@dataclass(frozen=True, slots=True)
class Step:
    """A sentence; what to copy, or a link that does it, goes with it."""

    text: str
    snippet: str = ""
    link: tuple[str, str] | None = None
    """Label and address."""


@dataclass(frozen=True, slots=True)
class Client:
    """A client, and what to do to connect it."""

    name: str
    steps: tuple[Step, ...]


def clients(mcp_url: str, auth: Auth) -> tuple[Client, ...]:
    """Return how to connect each client to `mcp_url`."""
    return (
        Client("ChatGPT", _chatgpt(mcp_url, auth)),
        Client("Claude (web, desktop, phone)", _claude(mcp_url, auth)),
        Client("Claude Code", _claude_code(mcp_url, auth)),
        Client("Cursor", _cursor(mcp_url, auth)),
        Client("VS Code", _vs_code(mcp_url, auth)),
        Client("A script", _script(mcp_url, auth)),
    )


def _chatgpt(mcp_url: str, auth: Auth) -> tuple[Step, ...]:
    if auth == "tokens":
        return (_takes_no_token("ChatGPT"),)
    return (
        Step(
            "In Settings > Apps & Connectors (on some accounts Apps, or Connectors), open Advanced "
            "settings and turn on Developer mode. In a workspace an admin has to allow it first."
        ),
        Step("Back there, choose Create, and give this as the server's address:", mcp_url),
        Step(
            "As authentication choose No authentication, then Create."
            if auth == "none"
            else "As authentication choose OAuth, and leave all else as it is; then Create."
        ),
        *_browser(auth),
        Step("In a chat, choose it under + > Developer mode (or + > More)."),
    )


def _claude(mcp_url: str, auth: Auth) -> tuple[Step, ...]:
    if auth == "tokens":
        return (_takes_no_token("Claude"),)
    return (
        Step(
            "In Customize > Connectors (before: Settings > Connectors) choose + > Add custom "
            "connector. In an organization an owner does this, in its settings."
        ),
        Step("Name it codeintel, and give this as the address:", mcp_url),
        Step("Leave the advanced settings empty; choose Add, then Connect."),
        *_browser(auth),
        Step("In a chat, turn it on under + > Connectors."),
    )


def _claude_code(mcp_url: str, auth: Auth) -> tuple[Step, ...]:
    add = f"claude mcp add --transport http {NAME} {mcp_url}"
    if auth == "tokens":
        return (
            _have_token(),
            Step("Add the server:", f'{add} --header "Authorization: Bearer ${TOKEN}"'),
            Step("Start claude; /mcp shows the server as connected."),
        )
    return (
        Step("Add the server:", add),
        Step("Start claude, type /mcp, and choose codeintel > Authenticate.")
        if SIGN_IN[auth].browser
        else Step("Start claude; /mcp shows the server as connected."),
        *_browser(auth),
    )


def _cursor(mcp_url: str, auth: Auth) -> tuple[Step, ...]:
    server: dict[str, object] = {"url": mcp_url}
    if auth == "tokens":
        server["headers"] = {"Authorization": f"Bearer ${{env:{TOKEN}}}"}
    config = base64.b64encode(_json(server).encode()).decode()
    link = f"cursor://anysphere.cursor-deeplink/mcp/install?name={NAME}&config={quote(config, '')}"
    return (
        *([_have_token("that Cursor is started from")] if auth == "tokens" else []),
        Step("On the computer with Cursor, follow this link:", link=("Add to Cursor", link)),
        Step(
            "Or put this into ~/.cursor/mcp.json:",
            json.dumps({"mcpServers": {NAME: server}}, indent=2),
        ),
        *(
            [Step("In Cursor's settings, under MCP, choose Connect beside codeintel.")]
            if SIGN_IN[auth].browser
            else []
        ),
        *_browser(auth),
    )


def _vs_code(mcp_url: str, auth: Auth) -> tuple[Step, ...]:
    server: dict[str, object] = {"type": "http", "url": mcp_url}
    inputs: dict[str, object] = {}
    if auth == "tokens":
        server["headers"] = {"Authorization": "Bearer ${input:codeintel-token}"}
        asked = {"type": "promptString", "id": "codeintel-token", "description": "codeintel: token"}
        inputs["inputs"] = [{**asked, "password": True}]
    link = f"vscode:mcp/install?{quote(_json({'name': NAME, **server, **inputs}), '')}"
    return (
        Step("On the computer with VS Code, follow this link:", link=("Add to VS Code", link)),
        Step(
            "Or put this into .vscode/mcp.json, or what MCP: Open User Configuration opens:",
            json.dumps({"servers": {NAME: server}, **inputs}, indent=2),
        ),
        Step(
            "Start it by MCP: List Servers > codeintel > Start Server."
            + (" It asks for the token once." if auth == "tokens" else "")
        ),
        *_browser(auth),
    )


def _script(mcp_url: str, auth: Auth) -> tuple[Step, ...]:
    header = "" if auth == "none" else f'  -H "Authorization: Bearer ${TOKEN}" \\\n'
    token = "" if auth == "none" else f', auth=os.environ["{TOKEN}"]'
    key = "io.modelcontextprotocol"
    meta = {
        f"{key}/protocolVersion": "2026-07-28",
        f"{key}/clientInfo": {"name": "curl", "version": "1"},
        f"{key}/clientCapabilities": {},
    }
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
    return (
        *([] if auth == "none" else [_have_token()]),
        Step(
            "See what there is with curl:",
            f"curl -sS {mcp_url} \\\n{header}"
            "  -H 'Content-Type: application/json' \\\n"
            "  -H 'Accept: application/json, text/event-stream' \\\n"
            "  -H 'MCP-Protocol-Version: 2026-07-28' -H 'Mcp-Method: tools/list' \\\n"
            f"  -d '{json.dumps(call)}'",
        ),
        Step(
            "Or ask with Python, after pip install fastmcp:",
            f"import asyncio{'' if auth == 'none' else ', os'}\n"
            "from fastmcp import Client\n\n"
            "async def main():\n"
            f'    async with Client("{mcp_url}"{token}) as client:\n'
            '        question = {"query": "where are passwords checked"}\n'
            '        print((await client.call_tool("search", question)).data)\n\n'
            "asyncio.run(main())",
        ),
    )


def _takes_no_token(client: str) -> Step:
    return Step(
        f"{client} signs in with OAuth and takes no token, and this server lets in by tokens "
        "alone. It can connect once the owner sets CODEINTEL_AUTH to owner or oidc."
    )


def _have_token(shell: str = "") -> Step:
    where = f"In the shell {shell}" if shell else "In the shell"
    return Step(
        f"{where}, run this, paste a token, which is not shown, and press Enter:",
        f"read -rs {TOKEN} && export {TOKEN}",
    )


def _browser(auth: Auth) -> tuple[Step, ...]:
    text = SIGN_IN[auth].browser
    return (Step(text),) if text else ()


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
