"""Index again whenever the files of a tree change."""

from collections.abc import Callable, Iterator
from pathlib import Path

from watchfiles import Change, DefaultFilter, watch

from codeintel.indexer import BuildSummary

QUIET_MS = 300
"""Changes that follow each other this closely are one."""


def watch_index(
    build: Callable[[], BuildSummary], root: Path, index_dir: Path
) -> Iterator[BuildSummary]:
    """Yield what `build` returns, at once and after every change below `root`, until interrupted.

    Another commit is a change too, though all files may stay as they are.
    Changes below `index_dir`, which may be in the tree, do not count.
    """
    yield build()
    wanted = _Wanted(ignore_paths=[index_dir.resolve()])
    for _ in watch(root.resolve(), watch_filter=wanted, step=QUIET_MS, raise_interrupt=False):
        yield build()


class _Wanted(DefaultFilter):
    """Files of the tree, and the log in which git notes every move to another commit."""

    def __call__(self, change: Change, path: str) -> bool:
        return path.endswith("/.git/logs/HEAD") or super().__call__(change, path)
