"""``codeintel probe`` against servers that run."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from codeintel.auth.passwords import hash_password
from codeintel.auth.store import AuthStore
from codeintel.auth.tokens import list_tokens
from codeintel.cli import main
from codeintel.store import index_path

COMMAND = [sys.executable, "-c", "import sys; from codeintel.cli import main; sys.exit(main())"]


@contextmanager
def server(folder: Path, index_dir: Path, **settings: str) -> Iterator[Path]:
    """Yield the socket of a server."""
    socket = folder / "socket"
    environment = os.environ | {
        "CODEINTEL_INDEX_DIR": str(index_dir),
        "CODEINTEL_STATE_DIR": str(folder),
        **settings,
    }
    command = [*COMMAND, "serve", "--bind", f"unix:{socket}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        assert any("unning on" in line for line in process.stderr)
        yield socket
        process.kill()


def test_a_call_is_answered(
    index: Callable[..., object],
    index_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    index({"a.py": "1"}, "main")
    with server(tmp_path, index_dir) as socket:
        assert main(["probe", str(socket), f"--state-dir={tmp_path}"]) == 0
    assert capsys.readouterr().out == "ready, and status answers\n"


def test_who_needs_a_token_has_it_for_the_moment(
    index: Callable[..., object],
    index_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    index({"a.py": "1"}, "main")
    owner = {
        "CODEINTEL_AUTH": "owner",
        "CODEINTEL_OWNER_PASSWORD": hash_password("correct horse battery"),
        "CODEINTEL_PUBLIC_URL": "https://mcp.example.com",
    }
    with server(tmp_path, index_dir, **owner) as socket:
        assert main(["probe", str(socket), f"--state-dir={tmp_path}"]) == 0
        assert capsys.readouterr().out == "ready, and status answers\n"
        elsewhere = tmp_path / "elsewhere"
        assert main(["probe", str(socket), f"--state-dir={elsewhere}"]) == 0
        assert "asks clients for a token" in capsys.readouterr().out
    assert list_tokens(AuthStore(tmp_path)) == []


def test_nothing_indexed_yet_is_no_reason_to_refuse(index_dir: Path, tmp_path: Path) -> None:
    with server(tmp_path, index_dir) as socket:
        assert main(["probe", str(socket), f"--state-dir={tmp_path}"]) == 0


def test_an_index_that_does_not_open_is(
    index_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index_dir.mkdir(exist_ok=True)
    index_path(index_dir, "main").write_text("no database")
    with server(tmp_path, index_dir) as socket:
        assert main(["probe", str(socket), f"--state-dir={tmp_path}"]) == 1
    assert "index:main" in capsys.readouterr().err


def test_a_server_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", str(tmp_path / "none"), f"--state-dir={tmp_path}"]) == 1
    assert "does not answer" in capsys.readouterr().err
