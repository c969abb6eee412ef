"""Index again whenever the files of a tree change."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from watchfiles import Change, DefaultFilter, watch

from codeintel.errors import CodeintelError
from codeintel.indexer import BuildSummary

QUIET_MS = 300
"""Changes that follow each other this closely are one."""

WAIT_MS = 1000

_HEAD_MOVES = re.compile(r"(^|/)\.git/((logs/)?HEAD|refs/heads/.*(?<!\.lock))$")
"""What git writes as another commit becomes HEAD. The log alone would not do: git writes it before
the branch, and with a first commit makes its folder too, faster than that can be watched."""


def watch_index(
    build: Callable[[], BuildSummary], root: Path, index_dir: Path
) -> Iterator[BuildSummary]:
    """Yield what `build` returns, at once and after every change below `root`, until interrupted.

    Another commit is a change too, though all files may stay as they are. Changes below
    `index_dir`, which may be in the tree, do not count. A build that fails after the first one is
    reported, and tried again with the next change.
    """
    yield build()
    watched = False
    wanted = _Wanted(root.resolve(), index_dir.resolve())
    for changes in watch(
        root.resolve(),
        watch_filter=wanted,
        step=QUIET_MS,
        rust_timeout=WAIT_MS,
        yield_on_timeout=True,
        raise_interrupt=False,
    ):
        # Once more when the watch has begun, for what changed while the first build ran.
        if watched and not changes:
            continue
        watched = True
        try:
            yield build()
        except (CodeintelError, OSError) as error:
            print(f"codeintel: {error}; waiting for the next change", file=sys.stderr, flush=True)


class _Wanted(DefaultFilter):
    """Files of the tree, and those which say what its commit is."""

    def __init__(self, root: Path, index_dir: Path) -> None:
        super().__init__()
        self._root = root
        self._index_dir = index_dir

    def __call__(self, change: Change, path: str) -> bool:
        if Path(path).is_relative_to(self._index_dir):
            return False
        # What the way to the tree is called is no reason to leave it out.
        name = str(Path(path).relative_to(self._root))
        return _HEAD_MOVES.search(name) is not None or super().__call__(change, name)
