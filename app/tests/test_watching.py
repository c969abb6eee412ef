import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest
from codeintel.directory import IndexDirectory
from codeintel.errors import CodeintelError
from codeintel.indexer import BuildSummary, build_index
from codeintel.store import index_path
from codeintel.watching import watch_index


def next_change(watching: Iterator[BuildSummary]) -> BuildSummary:
    """Return the next build that found something new; others may come before it."""
    return next(summary for summary in watching if summary.changed)


def change(file: Path, text: str) -> None:
    """Give a file another content in one step, which is one change."""
    scratch = file.parents[1] / "scratch"
    scratch.write_text(text)
    scratch.replace(file)


def built(index_dir: Path) -> int:
    """Return what every build changes, of which the last one is."""
    return index_path(index_dir, "main").stat().st_mtime_ns


@pytest.mark.parametrize("place", ["tree", "node_modules/tree"])
def test_changes_are_indexed_and_the_index_itself_is_none(tmp_path: Path, place: str) -> None:
    """The first one comes before there is a watch, as one during a first build does."""
    root = tmp_path / place
    root.mkdir(parents=True)
    (root / "a.py").write_text("1")
    (root / ".gitignore").write_text("indexes\n")
    index_dir = root / "indexes"
    watching = watch_index(lambda: build_index(root, "main", index_dir), root, index_dir)
    assert next(watching).files == 2
    for text in ("2", "3"):
        change(root / "a.py", text)
        assert next_change(watching).changed == 1
    # What the last builds wrote brings no other one: the next is that of the next change.
    after = Thread(target=next_change, args=(watching,), daemon=True)
    builds_before = built(index_dir)
    after.start()
    after.join(2)
    assert built(index_dir) == builds_before
    change(root / "a.py", "4")
    after.join(20)
    assert not after.is_alive()


def test_a_build_that_fails_is_told_and_the_watch_goes_on(
    tmp_path: Path, index_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.py").write_text("1")
    builds = 0

    def build() -> BuildSummary:
        nonlocal builds
        builds += 1
        if builds == 2:
            (tmp_path / "b.py").write_text("the next change")
            raise CodeintelError("no room")
        return build_index(tmp_path, "main", index_dir)

    watching = watch_index(build, tmp_path, index_dir)
    assert next(watching).files == 1
    assert next(watching).files == 2
    assert capsys.readouterr().err == "codeintel: no room; waiting for the next change\n"


def test_a_commit_is_a_change(write_tree: Callable[..., Path], index_dir: Path) -> None:
    """The first one of all makes folders that nothing watches yet."""
    root = write_tree({"a.py": "1"})

    def git(arguments: str) -> str:
        command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", *arguments.split()]
        return subprocess.run(command, cwd=root, check=True, text=True, capture_output=True).stdout

    git("init --quiet")
    git("add .")
    watching = watch_index(lambda: build_index(root, "main", index_dir), root, index_dir)
    next(watching)
    next(watching)  # the watch has begun
    commit = "commit --allow-empty --message=one"
    for change_of_commit in (commit, commit, "checkout --detach HEAD~1", commit, "checkout -"):
        git(change_of_commit)
        head = git("rev-parse HEAD").strip()
        while next(watching) and IndexDirectory(index_dir).scan().ready["main"].commit != head:
            pass
