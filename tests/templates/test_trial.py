"""The trial of a release: an import and a check, as systemd-run gets them."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from ansible.template import Templar


def trial(variables: Callable[..., Templar], **given: object) -> list[str]:
    templar = variables("mcp_app", **given)
    return shlex.split(str(templar.resolve_variable_expression("__mcp_app_trial")))


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run what systemd would run, with the Python of the tests."""
    program = words.index("-c") - 1
    command = [word.replace("$$", "$") for word in words[program + 1 :]]
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("code", "passes"), [(0, True), (3, True), (1, False), (2, False)])
def test_the_check_decides(variables: Callable[..., Templar], code: int, passes: bool) -> None:
    check = ["sh", "-c", 'echo "what it says" for ${NOBODY-"$0"}; exit $1', "it's", str(code)]
    done = run(trial(variables, mcp_app_asgi="json:dumps", mcp_app_check_command=check))
    assert done.stdout == "what it says for it's\n"
    assert (done.returncode == 0) is passes, done.stderr


def test_without_a_check_the_import_decides(variables: Callable[..., Templar]) -> None:
    assert run(trial(variables, mcp_app_asgi="json:decoder.JSONDecoder")).returncode == 0
    assert "no_such" in run(trial(variables, mcp_app_asgi="json:no_such")).stderr


def test_the_app_that_ships_checks_itself_and_no_other_is_asked_to(
    variables: Callable[..., Templar],
) -> None:
    ours, theirs = trial(variables), trial(variables, mcp_app_asgi="notes:app")
    assert ours[-2].endswith("/venv/bin/codeintel")
    assert ours[-1] == "doctor"
    assert ours[-2].startswith("/srv/codeintel/releases/")
    assert theirs[-1] == "notes:app"


def test_systemd_gets_no_lone_dollar_sign(variables: Callable[..., Templar]) -> None:
    words = trial(variables, mcp_app_check_command=["echo", "$HOME", "100%"])
    assert words[-2:] == ["$$HOME", "100%"]


OIDC = {
    "issuer": "https://login.example.com",
    "client_id": "edge",
    "client_secret": "hunter2",
    "allowed": ["me@example.com"],
}


@pytest.mark.parametrize(
    ("given", "secrets", "network"),
    [
        ({}, ["codeintel_owner_password"], "no network"),
        ({"mcp_app_client_documents": True}, ["codeintel_owner_password"], "internet"),
        ({"mcp_app_auth": "tokens", "mcp_app_client_documents": True}, [], "no network"),
        ({"mcp_app_auth": "none", "mcp_app_client_documents": True}, [], "no network"),
        ({"mcp_app_auth": "oidc"}, ["codeintel_oidc_client_secret"], "internet"),
        (
            {"mcp_app_auth": "oidc", "mcp_app_oidc": OIDC | {"networks": ["10.0.0.7"]}},
            ["codeintel_oidc_client_secret"],
            "10.0.0.7",
        ),
        (
            {"mcp_app_auth": "oidc", "mcp_app_client_documents": "yes"}
            | {"mcp_app_oidc": OIDC | {"networks": ["10.0.0.7"]}},
            ["codeintel_oidc_client_secret"],
            "10.0.0.7 internet",
        ),
        # An app of somebody else's has its own secrets and nothing of this.
        (
            {
                "mcp_app_base_settings": {},
                "mcp_app_secrets": {"token": "x"},
                "mcp_app_auth": "oidc",
            },
            ["token"],
            "no network",
        ),
        (
            {
                "mcp_app_base_settings": {},
                "mcp_app_secrets": {"token": "x"},
                "mcp_app_outbound": ["192.0.2.0/24", "internet"],
            },
            ["token"],
            "192.0.2.0/24 internet",
        ),
        (
            {"mcp_app_auth": "oidc", "mcp_app_outbound": ["internet"]},
            ["codeintel_oidc_client_secret"],
            "internet",
        ),
    ],
)
def test_what_the_app_is_handed_and_what_it_calls(
    variables: Callable[..., Templar], given: dict[str, object], secrets: list[str], network: str
) -> None:
    """The playbook hands both on to the role that runs the app; the trial has them too."""
    given = {"mcp_app_oidc": OIDC, **given}
    templar = variables("mcp_app", **given)
    assert templar.resolve_variable_expression("__mcp_app_credential_names") == secrets
    outbound = templar.resolve_variable_expression("__mcp_app_outbound")
    assert (" ".join(outbound) or "no network") == network
    words = trial(variables, **given)
    assert f"--property=PrivateNetwork={'no' if outbound else 'yes'}" in words
    loaded = [word.rpartition("/")[2] for word in words if "LoadCredential" in word]
    assert loaded == secrets
    assert "hunter2" not in " ".join(words)
