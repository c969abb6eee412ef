"""The settings file of the app, by the rules of systemd's EnvironmentFile.

Within double quotes a backslash escapes a double quote, a backslash, a backtick and a dollar sign,
and stays a backslash before anything else. Nothing is expanded: a dollar sign means itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Render


def lines(render: Render, settings: dict[str, object], **given: object) -> list[str]:
    text = render(
        "mcp_app/environment.j2", mcp_app_base_settings={}, mcp_app_settings=settings, **given
    )
    return [line for line in text.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("plain", 'KEY="plain"'),
        ("", 'KEY=""'),
        (" two  spaces ", 'KEY=" two  spaces "'),
        ('a "quoted" word', r'KEY="a \"quoted\" word"'),
        ("it's", 'KEY="it\'s"'),
        ("$HOME and ${HOME}", 'KEY="$HOME and ${HOME}"'),
        ("`id`", 'KEY="`id`"'),
        ("# no comment; none", 'KEY="# no comment; none"'),
        ("back\\slash", r'KEY="back\\slash"'),
        ("ends in \\", r'KEY="ends in \\"'),
        (r"\n \t \" \u0041", r'KEY="\\n \\t \\\" \\u0041"'),
        ("a\ttab", 'KEY="a\ttab"'),
        ("ümlaut, 日本, 🎉", 'KEY="ümlaut, 日本, 🎉"'),
        ('{"json": [1, "two"]}', r'KEY="{\"json\": [1, \"two\"]}"'),
        ("a=b=c", 'KEY="a=b=c"'),
        (8, 'KEY="8"'),
        (2.5, 'KEY="2.5"'),
    ],
)
def test_a_value_survives(render: Render, value: object, line: str) -> None:
    assert lines(render, {"KEY": value}) == [line]


def test_settings_come_in_a_fixed_order(render: Render) -> None:
    assert lines(render, {"B": 1, "A": 2, "C": 3}) == ['A="2"', 'B="1"', 'C="3"']


def test_settings_of_the_user_win(render: Render) -> None:
    text = render("mcp_app/environment.j2", mcp_app_settings={"CODEINTEL_PUBLIC_URL": "x"})
    assert 'CODEINTEL_PUBLIC_URL="x"' in text
    assert "mcp.test" not in text


def test_the_app_learns_its_public_address(render: Render) -> None:
    assert 'CODEINTEL_PUBLIC_URL="https://mcp.test"' in render("mcp_app/environment.j2")


def auth(render: Render, **given: object) -> dict[str, str]:
    """Return what the app is told of who may call it."""
    lines = render("mcp_app/environment.j2", **given).splitlines()
    pairs = (line.split("=", 1) for line in lines if line.startswith("CODEINTEL_"))
    told = {name: value[1:-1].replace('\\"', '"') for name, value in pairs}
    assert told.pop("CODEINTEL_CERTIFICATE") == "/etc/codeintel/certificate.pem"
    del told["CODEINTEL_PUBLIC_URL"], told["CODEINTEL_INDEX_DIR"]
    return told


OIDC = {
    "issuer": "https://login.example.com",
    "client_id": "edge",
    "client_secret": "hunter2",
    "allowed": ["me@example.com", "sub-1"],
}
CLIENTS = {
    "mcp_app_redirect_uris": ["https://client.example.com/callback"],
    "mcp_app_client_documents": True,
}
TOLD_OF_CLIENTS = {
    "CODEINTEL_REDIRECT_URIS": '["https://client.example.com/callback"]',
    "CODEINTEL_CLIENT_DOCUMENTS": "true",
}


def test_the_app_learns_who_may_call_it(render: Render) -> None:
    assert auth(render) == {"CODEINTEL_AUTH": "owner"}
    assert auth(render, **CLIENTS) == {"CODEINTEL_AUTH": "owner"} | TOLD_OF_CLIENTS
    assert auth(render, mcp_app_auth="tokens", **CLIENTS) == {"CODEINTEL_AUTH": "tokens"}
    assert auth(render, mcp_app_auth="none", **CLIENTS) == {"CODEINTEL_AUTH": "none"}
    allowed = {"mcp_app_allow_public_without_auth": "yes"}
    assert auth(render, mcp_app_auth="none", **allowed) == {
        "CODEINTEL_AUTH": "none",
        "CODEINTEL_ALLOW_PUBLIC_WITHOUT_AUTH": "true",
    }
    assert auth(render, **allowed) == {"CODEINTEL_AUTH": "owner"}
    assert auth(render, mcp_app_auth="oidc", mcp_app_oidc=OIDC, **CLIENTS) == {
        "CODEINTEL_AUTH": "oidc",
        "CODEINTEL_OIDC_ISSUER": "https://login.example.com",
        "CODEINTEL_OIDC_CLIENT_ID": "edge",
        "CODEINTEL_OIDC_ALLOWED": '["me@example.com", "sub-1"]',
        **TOLD_OF_CLIENTS,
    }


@pytest.mark.parametrize("mode", ["owner", "tokens", "oidc", "none"])
def test_another_app_hears_nothing_of_it(render: Render, mode: str) -> None:
    given = {"mcp_app_auth": mode, "mcp_app_oidc": OIDC, **CLIENTS}
    assert lines(render, {}, **given) == []


def test_secrets_are_not_in_it(render: Render) -> None:
    assert "hunter2" not in render("mcp_app/environment.j2", mcp_app_secrets={"key": "hunter2"})
    given = {"mcp_app_auth": "oidc", "mcp_app_oidc": OIDC, "mcp_app_owner_password": "hunter2"}
    assert "hunter2" not in render("mcp_app/environment.j2", **given)
