import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from codeintel.cli import main
from codeintel.store import IndexDirectory

WriteTree = Callable[..., Path]


def test_index_ends_with_one_line(
    write_tree: WriteTree, index_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_tree({"a.py": "1", "b.py": "2", ".env": "", "c.bin": b"\0", "d.bin": b"\0"})
    assert main(["index", str(root), "--name", "main", "--index-dir", str(index_dir)]) == 0
    output = capsys.readouterr()
    assert output.out.startswith("indexed main: 2 files, 0.0 MB in ")
    assert output.out.endswith("; skipped: 2 binary, 1 secret\n")
    assert output.out.count("\n") == 1
    assert list(IndexDirectory(index_dir).scan().ready) == ["main"]


def test_the_index_directory_is_that_of_the_service(
    write_tree: WriteTree, index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEINTEL_INDEX_DIR", str(index_dir))
    assert main(["index", str(write_tree({"a.py": "1"})), "--name", "main"]) == 0
    assert list(IndexDirectory(index_dir).scan().ready) == ["main"]


def test_failures_are_one_line_on_stderr(
    index_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in (
        ["index", "/nonexistent", "--name", "main", "--index-dir", str(index_dir)],
        ["index", "/", "--name", "a/b", "--index-dir", str(index_dir)],
        ["index", str(Path(__file__).parent), "--name", "main", "--index-dir", "/proc/nothing"],
    ):
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert error.startswith("codeintel: ")
        assert error.count("\n") == 1
    monkeypatch.setenv("CODEINTEL_INDEX_DIRR", "/srv")
    assert main(["index", "/tmp", "--name", "main"]) == 1
    assert "CODEINTEL_INDEX_DIR?" in capsys.readouterr().err


def test_the_installed_command() -> None:
    command = Path(sys.executable).with_name("codeintel")
    version = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("codeintel 0.1")
    usage = subprocess.run([command, "index"], capture_output=True, text=True, check=False)
    assert usage.returncode == 2
    shown = subprocess.run([command, "index", "-h"], capture_output=True, text=True, check=True)
    assert "--index-dir" in shown.stdout


def test_the_command_does_not_load_the_server() -> None:
    script = "import sys, codeintel.cli; print(sorted({'fastmcp', 'fastapi'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
