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


def test_secrets_are_not_in_it(render: Render) -> None:
    assert "hunter2" not in render("mcp_app/environment.j2", mcp_app_secrets={"key": "hunter2"})
