import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from codeintel import indexer
from codeintel.errors import CodeintelError
from codeintel.indexer import BuildSummary, build_index
from codeintel.store import index_path, open_index

Index = Callable[..., BuildSummary]


def test_texts_and_counts(index: Index, index_dir: Path) -> None:
    summary = index(
        {"b.py": "1\n2", "a.py": "é\n", "empty": "", "x.bin": b"\0", ".env": ""}, "main"
    )
    assert (summary.files, summary.size) == (3, 6)
    with open_index(index_path(index_dir, "main")) as opened:
        assert opened.paths() == ["a.py", "b.py", "empty"]
        file = opened.file("b.py")
        assert file is not None
        assert (file.lines, file.text) == (2, "1\n2")
        assert [opened.file(path).lines for path in ("a.py", "empty")] == [1, 0]  # type: ignore[union-attr]  # exist
        assert opened.content("a.py") == "é\n".encode()
        assert dict(opened.info.skipped) == {"binary": 1, "secret": 1}
        assert opened.info.files == 3


def test_the_generation_follows_the_content(index: Index, index_dir: Path) -> None:
    def generation() -> str:
        with open_index(index_path(index_dir, "main")) as opened:
            return opened.info.generation

    index({"a.py": "1"}, "main")
    first = generation()
    index({"a.py": "1"}, "main")
    assert generation() == first
    index({"a.py": "2"}, "main")
    assert generation() != first


def test_another_user_can_read_it_despite_the_umask(index: Index, index_dir: Path) -> None:
    before = os.umask(0o077)
    try:
        index_dir.mkdir()
        index({"a.py": "1"}, "main")
    finally:
        os.umask(before)
    assert stat.S_IMODE(index_path(index_dir, "main").stat().st_mode) == 0o644


def test_an_open_reader_keeps_its_generation(index: Index, index_dir: Path) -> None:
    index({"a.py": "old"}, "main")
    with open_index(index_path(index_dir, "main")) as opened:
        index({"a.py": "new"}, "main")
        assert opened.content("a.py") == b"old"
    with open_index(index_path(index_dir, "main")) as opened:
        assert opened.content("a.py") == b"new"


def test_a_failed_build_leaves_the_old_index_and_nothing_else(
    index: Index, index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index({"a.py": "old"}, "main")

    def fail(_path: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(indexer, "_fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        index({"a.py": "new"}, "main")
    assert [file.name for file in index_dir.iterdir()] == ["main.sqlite"]
    with open_index(index_path(index_dir, "main")) as opened:
        assert opened.content("a.py") == b"old"


def test_a_killed_build_loses_nothing_and_is_cleaned_up(
    index: Index, index_dir: Path, tmp_path: Path
) -> None:
    index({"a.py": "old"}, "main")
    script = (
        "import os, signal, sys; from pathlib import Path; from codeintel import indexer\n"
        "indexer._fsync = lambda path: os.kill(os.getpid(), signal.SIGKILL)\n"
        "indexer.build_index(Path(sys.argv[1]), 'main', Path(sys.argv[2]))\n"
    )
    tree = str(tmp_path / "tree-main")
    killed = subprocess.run([sys.executable, "-c", script, tree, str(index_dir)], check=False)
    assert killed.returncode == -9
    with open_index(index_path(index_dir, "main")) as opened:
        assert opened.content("a.py") == b"old"
    [leftover] = index_dir.glob(".main-*")
    index({"a.py": "new"}, "main")
    assert leftover.exists(), "it could belong to a build that still runs"
    os.utime(leftover, (0, 0))
    index({"a.py": "new"}, "main")
    assert [file.name for file in index_dir.iterdir()] == ["main.sqlite"]


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 65, "a\nb"])
def test_names_that_are_no_file_name_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CodeintelError, match="invalid repository name"):
        build_index(tmp_path, name, tmp_path / "indexes")
    assert not (tmp_path / "indexes").exists()
