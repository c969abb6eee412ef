"""Where a browser may be sent with a code: to the clients that are known, and to this machine."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

KNOWN = frozenset(
    {
        "https://chatgpt.com/connector_platform_oauth_redirect",
        "https://claude.ai/api/mcp/auth_callback",
        "https://claude.com/api/mcp/auth_callback",
        "https://www.cursor.com/agents/mcp/oauth/callback",
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "https://vscode.dev/redirect",
        "https://insiders.vscode.dev/redirect",
    }
)
"""Callbacks of ChatGPT, Claude, Cursor and VS Code; those on this machine come beside them."""

# ChatGPT has an address for each connector.
_CHATGPT = re.compile(r"https://chatgpt\.com/connector/oauth/[A-Za-z0-9_-]{1,128}")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def is_allowed(uri: str, extra: Sequence[str] = ()) -> bool:
    """Say whether a code may be sent to `uri`: one of `KNOWN`, of `extra`, or of this machine."""
    return uri in KNOWN or uri in extra or _CHATGPT.fullmatch(uri) is not None or is_loopback(uri)


def is_loopback(uri: str) -> bool:
    """Say whether `uri` is plain HTTP to this very machine, on any port and path.

    Parsed, as patterns take http://localhost.evil.example or http://127.0.0.1@evil.example for one.
    """
    try:
        parts = urlsplit(uri)
        _ = parts.port  # raises for what is none
    except ValueError:
        return False
    strange = "\\" in uri or any(not character.isprintable() for character in uri)
    return (
        parts.scheme == "http"
        and parts.hostname in _LOOPBACK
        and "@" not in parts.netloc
        and not parts.fragment
        and not strange
    )


def is_same_program(uri: str, known: str) -> bool:
    """Say whether both are of loopback and differ in the port alone, which changes at each start.

    RFC 8252, section 7.3.
    """
    if not (is_loopback(uri) and is_loopback(known)):
        return False
    one, other = urlsplit(uri), urlsplit(known)
    return (one.hostname, one.path, one.query) == (other.hostname, other.path, other.query)


def target_of(uri: str) -> str:
    """Return what people are told of `uri`: its host, or the program that it opens."""
    parts = urlsplit(uri)
    return parts.netloc if parts.scheme in {"http", "https"} else f"the program {parts.scheme}"
