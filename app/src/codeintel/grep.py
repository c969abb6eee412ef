"""Search the texts of an index line by line with RE2, whose time is linear in the text."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from codeintel.errors import CodeintelError
from codeintel.regex import InvalidPatternError, Pattern, compile_regex
from codeintel.store import Index

DEADLINE_SECONDS = 8.0
"""Clients give up after about ten."""

MAX_LINE = 240
"""Characters shown of a matching line; more is an excerpt around the match."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One matching line; `line` counts from 1."""

    path: str
    line: int
    text: str


def compile_pattern(pattern: str, *, ignore_case: bool) -> Pattern:
    """Compile `pattern` for use with `grep`; raises CodeintelError if RE2 does not accept it."""
    try:
        return compile_regex(pattern.encode(), ignore_case=ignore_case)
    except InvalidPatternError as error:
        raise CodeintelError(
            f"invalid pattern: {str(error)[:120]}; RE2 syntax, no look-around or back-references"
        ) from error


def grep(
    index: Index, pattern: Pattern, paths: Iterable[str], after: tuple[str, int] = ("", 0)
) -> Iterator[Hit]:
    """Yield the matching lines of `paths` (sorted) that follow `after`, one hit a line.

    Raises CodeintelError when the deadline passes.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    for path in paths:
        if path < after[0]:
            continue
        if time.monotonic() > deadline:
            raise CodeintelError(
                f"the search took longer than {DEADLINE_SECONDS:g} s; narrow it with path"
            )
        first = after[1] if path == after[0] else 0
        for number, text in _matching_lines(pattern, index.content(path)):
            if number > first:
                yield Hit(path, number, text)


def _matching_lines(pattern: Pattern, text: bytes) -> Iterator[tuple[int, str]]:
    number, at = 1, 0
    # A final newline ends the last line, it does not start another one.
    end_of_text = len(text) - text.endswith(b"\n")
    while at <= end_of_text and text and (match := pattern.search(text, at)):
        offset = match.start()
        start = text.rfind(b"\n", 0, offset) + 1
        if start > end_of_text:
            return
        end = text.find(b"\n", offset)
        end = len(text) if end < 0 else end
        number += text.count(b"\n", at, start)
        yield number, _excerpt(text[start:end], offset - start)
        number, at = number + 1, end + 1


def _excerpt(line: bytes, offset: int) -> str:
    """Return the line, or the part around `offset` (bytes) when it is too long to show."""
    text = line.decode().rstrip("\r")
    if len(text) <= MAX_LINE:
        return text
    start = max(0, len(line[:offset].decode(errors="ignore")) - MAX_LINE // 4)
    part = text[start : start + MAX_LINE]
    return f"{'…' if start else ''}{part}{'…' if start + MAX_LINE < len(text) else ''}"
