"""The list of bans: who, since when, until when and why, whatever a client sent."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

SINCE = 1795374000  # 2026-11-22 19:00:00
FOUR = ("mcp-codeintel", "192.0.2.1")
SIX = ("mcp-notes", "2001:db8:0:1::/64")


def load() -> ModuleType:
    path = Path(__file__).parents[3] / "roles/fail2ban_mcp/files/mcp_edge_bans.py"
    spec = importlib.util.spec_from_file_location("mcp_edge_bans", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses looks for it
    spec.loader.exec_module(module)
    return module


program = load()


def line(**fields: str) -> str:
    return json.dumps({"time": "2026-11-22T19:00:00+00:00", "status": "403", **fields})


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Return a database with two bans, in the tables of fail2ban's own."""
    path = tmp_path / "fail2ban.sqlite3"
    matches = [line(method="GET", uri="/"), line(method="POST", uri="/admin")]
    cut = [["", "2026-11-22", " host notes-access[1]: " + line(method="GET", uri="/x")]]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE bips(jail, ip, timeofban, bantime, bancount, data)")
        for (jail, ip), seconds, count, data in (
            (FOUR, 3600, 1, {"matches": matches, "failures": 12}),
            (SIX, 7200, 2, {"matches": cut, "failures": 10}),
        ):
            row = (jail, ip, SINCE + count, seconds, count, json.dumps(data))
            connection.execute("INSERT INTO bips VALUES(?, ?, ?, ?, ?, ?)", row)
    return path


@pytest.fixture
def answers(database: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Stand in for fail2ban; return what it is told to do."""
    told: list[tuple[str, ...]] = []

    def fail2ban(*words: str) -> str:
        if words == ("banned",):
            return str([{"sshd": ["198.51.100.7"]}, {FOUR[0]: [FOUR[1]]}, {SIX[0]: [SIX[1]]}])
        told.append(words)
        return "1\n"

    monkeypatch.setattr(program, "fail2ban", fail2ban)
    monkeypatch.setattr(program, "DATABASE", database)
    return told


@pytest.mark.usefixtures("answers")
def test_the_list_says_who_is_banned_until_when_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main([]) == 0
    assert capsys.readouterr().out == (
        "ADDRESS            JAIL           SINCE                UNTIL                BANS  WHY\n"
        "2001:db8:0:1::/64  mcp-notes      2026-11-22 19:00:02  2026-11-22 21:00:02  2     "
        "10 x 403, last GET /x\n"
        "192.0.2.1          mcp-codeintel  2026-11-22 19:00:01  2026-11-22 20:00:01  1     "
        "12 x 403, last POST /admin\n"
    )


@pytest.mark.usefixtures("answers")
def test_a_program_reads_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out)[1] == {
        "address": "192.0.2.1",
        "jail": "mcp-codeintel",
        "since": "2026-11-22 19:00:01",
        "until": "2026-11-22 20:00:01",
        "bans": 1,
        "why": "12 x 403, last POST /admin",
    }


def test_nobody_is_named_if_nobody_is_banned(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "fail2ban", lambda *_: "[{'mcp-codeintel': []}]\n")
    assert program.main([]) == 0
    assert capsys.readouterr().out == "nobody is banned\n"


@pytest.mark.usefixtures("answers")
def test_a_ban_that_fail2ban_has_not_noted_yet_is_listed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "DATABASE", tmp_path / "none")
    assert program.main([]) == 0
    assert "192.0.2.1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "jail", "lifted"),
    [
        ("192.0.2.1", *FOUR),
        ("2001:db8:0:1::5", *SIX),
        ("2001:db8:0:1::/64", *SIX),
        ("192.0.2.0/24", *FOUR),
    ],
)
def test_an_address_is_let_in_again(
    answers: list[tuple[str, ...]],
    capsys: pytest.CaptureFixture[str],
    given: str,
    jail: str,
    lifted: str,
) -> None:
    assert program.main(["unban", given]) == 0
    assert answers == [("set", jail, "unbanip", lifted)]
    assert capsys.readouterr().out == f"{given}: {lifted} is no longer banned by {jail}\n"


def test_an_address_that_was_not_banned_is_told_so(
    answers: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(["unban", "192.0.2.1", "2001:db8:0:2::5", "198.51.100.7"]) == 1
    assert answers == [("set", FOUR[0], "unbanip", FOUR[1])]
    assert capsys.readouterr().out.splitlines()[1:] == [
        "2001:db8:0:2::5: was not banned",
        "198.51.100.7: was not banned",
    ]


@pytest.mark.parametrize("wrong", ["nobody", "192.0.2.256", "192.0.2.1/24", "", "--all", "-h;"])
def test_a_word_that_is_no_address_is_refused_before_anything(
    answers: list[tuple[str, ...]], wrong: str
) -> None:
    with pytest.raises(SystemExit) as refused:
        program.main(["unban", "--", "192.0.2.1", wrong])
    assert refused.value.code == 2
    assert answers == []


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("/\x1b[2J", "/\\x1b[2J"),
        ("/\r\nx", "/\\r\\nx"),
        ("/\u202egnp", "/\\u202egnp"),
        ("/\udcff", "/\\udcff"),
        ("/ä", "/ä"),
        ("/" + "x" * 99, "/" + "x" * 59 + "..."),
    ],
)
def test_what_a_client_sent_is_shown_without_harm(sent: str, shown: str) -> None:
    reason = program.reason({"matches": [line(method="GET", uri=sent)], "failures": 3})
    assert reason == f"3 x 403, last GET {shown}"


@given(st.text(st.characters(), max_size=80), st.text(st.characters(), max_size=80))
def test_a_reason_is_one_printable_line(method: str, uri: str) -> None:
    reason = program.reason({"matches": [line(method=method, uri=uri)], "failures": 1})
    assert reason.isprintable()
    assert len(reason) < 1500


@pytest.mark.parametrize("match", ["", "{", "[]", "x", '{"a":', "{" * 20_000, '{"a":1}{"b":2}'])
def test_a_line_that_is_no_json_is_passed_over(match: str) -> None:
    reason: Callable[..., str] = program.reason
    assert reason({"matches": [match], "failures": 1}) == "?"
    assert reason({"matches": [match, line(method="GET", uri="/")], "failures": 2}) == (
        "2 x 403, last GET /"
    )


def test_every_address_of_a_network_is_in_it() -> None:
    assert program.words(ip_network("192.0.2.1")) == "192.0.2.1"
    assert program.words(ip_network("192.0.2.0/24")) == "192.0.2.0/24"
