"""Lines that reach the journal under a name of their own."""

import socket
from pathlib import Path

import pytest
from hypercorn_edge.journal import Journal


def test_a_line_is_an_entry_that_the_app_cannot_print(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    address = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(address))
        journal = Journal("notes-access", address)
        journal.write('{"status":"200"}')
        assert receiver.recv(4096) == (
            b'SYSLOG_IDENTIFIER=notes-access\nPRIORITY=6\nMESSAGE={"status":"200"}\n'
        )


def test_a_journal_that_is_away_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    Journal("notes-access", tmp_path / "nobody").write("lost")


def test_outside_of_systemd_it_is_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    Journal("notes-access").write("{}")
    assert capsys.readouterr().out == "{}\n"
