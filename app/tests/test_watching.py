import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

from codeintel.directory import IndexDirectory
from codeintel.indexer import BuildSummary, build_index
from codeintel.watching import watch_index


def until_built(watching: Iterator[BuildSummary], change: Callable[[int], object]) -> None:
    """Change again and again, as the watch may not have begun, until there is one more build."""
    thread = Thread(target=lambda: next(watching), daemon=True)
    thread.start()
    number = 0
    while thread.is_alive():
        number += 1
        change(number)
        thread.join(0.1)


def test_a_change_is_indexed_and_the_index_itself_is_none(
    write_tree: Callable[..., Path],
) -> None:
    root = write_tree({"a.py": "1", ".gitignore": "indexes\n"})
    index_dir = root / "indexes"
    builds: list[BuildSummary] = []

    def build() -> BuildSummary:
        builds.append(build_index(root, "main", index_dir))
        return builds[-1]

    watching = watch_index(build, root, index_dir)
    assert next(watching).files == 2
    until_built(watching, lambda number: (root / "a.py").write_text(f"changed {number}"))
    assert [summary.changed for summary in builds] == [2, 1]


def test_a_commit_is_a_change(write_tree: Callable[..., Path], index_dir: Path) -> None:
    root = write_tree({"a.py": "1"})

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
        subprocess.run(["git", *who, *arguments], cwd=root, check=True)

    git("init", "--quiet")
    git("add", ".")
    watching = watch_index(lambda: build_index(root, "main", index_dir), root, index_dir)
    next(watching)
    until_built(watching, lambda _: git("commit", "--quiet", "--allow-empty", "--message=one"))
    assert IndexDirectory(index_dir).scan().ready["main"].commit is not None
