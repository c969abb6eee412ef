"""Showing how far a build is: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable
from typing import TextIO

BAR = 40  # characters
TERMINAL_SECONDS = 0.1
LOG_SECONDS = 10.0
"""Time between two lines in a log; most builds end before the first."""


def show_progress(
    stream: TextIO, clock: Callable[[], float] = time.monotonic
) -> Callable[[int, int], None]:
    """Return a callback for (files done, files in all) that writes to `stream`."""
    terminal = stream.isatty()
    interval = TERMINAL_SECONDS if terminal else LOG_SECONDS
    due = clock() + interval

    def show(done: int, total: int) -> None:
        nonlocal due
        if done == total:
            stream.write("\r\x1b[K" if terminal else "")  # what follows takes the line
        elif clock() >= due:
            due = clock() + interval
            filled = "#" * (BAR * done // total)
            bar = f"\r[{filled:<{BAR}}] {done} of {total} files"
            stream.write(bar if terminal else f"{done} of {total} files\n")
        else:
            return
        stream.flush()

    return show
