from collections.abc import Callable
from pathlib import Path
from threading import Thread

from codeintel.indexer import BuildSummary, build_index
from codeintel.watching import watch_index


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
    thread = Thread(target=lambda: next(watching), daemon=True)
    thread.start()
    number = 0
    while thread.is_alive():  # it may not watch yet
        number += 1
        (root / "a.py").write_text(f"changed {number}")
        thread.join(0.1)
    assert [summary.changed for summary in builds] == [2, 1]
