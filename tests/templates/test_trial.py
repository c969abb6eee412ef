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
