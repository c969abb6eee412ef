"""Index again whenever the files of a tree change."""

from collections.abc import Callable, Iterator
from pathlib import Path

from watchfiles import DefaultFilter, watch

from codeintel.indexer import BuildSummary

QUIET_MS = 300
"""Changes that follow each other this closely are one."""


def watch_index(
    build: Callable[[], BuildSummary], root: Path, index_dir: Path
) -> Iterator[BuildSummary]:
    """Yield what `build` returns, at once and after every change below `root`, until interrupted.

    Changes below `index_dir`, which may be in the tree, do not count.
    """
    yield build()
    ignored = DefaultFilter(ignore_paths=[index_dir.resolve()])
    for _ in watch(root.resolve(), watch_filter=ignored, step=QUIET_MS, raise_interrupt=False):
        yield build()
