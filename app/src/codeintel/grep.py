"""Search the texts of an index line by line with RE2, whose time is linear in the text."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from codeintel.errors import CodeintelError
from codeintel.regex import InvalidPatternError, Pattern, compile_regex, matching_lines
from codeintel.store import Index

DEADLINE_SECONDS = 8.0
"""Clients give up after about ten."""

MAX_LINE = 240
"""Characters shown of a matching line; more is an excerpt around the match."""


@dataclass(frozen=True, slots=True)
class GrepPattern:
    """A pattern in both forms: compiled to search texts, and as it was, to choose them."""

    compiled: Pattern
    source: str
    ignore_case: bool


@dataclass(frozen=True, slots=True)
class Hit:
    """One matching line; `line` counts from 1."""

    path: str
    line: int
    text: str


def compile_pattern(pattern: str, *, ignore_case: bool) -> GrepPattern:
    """Compile `pattern` for use with `grep`; raises CodeintelError if RE2 does not accept it."""
    try:
        compiled = compile_regex(pattern.encode(), ignore_case=ignore_case)
    except InvalidPatternError as error:
        raise CodeintelError(
            f"invalid pattern: {str(error)[:120]}; RE2 syntax, no look-around or back-references"
        ) from error
    return GrepPattern(compiled, pattern, ignore_case)


def grep(
    index: Index,
    pattern: GrepPattern,
    paths: Sequence[str] | None = None,
    after: tuple[str, int] = ("", 0),
) -> Iterator[Hit]:
    """Yield the matching lines of `paths` (sorted, None for all) after `after`, one hit a line.

    Raises CodeintelError when the deadline passes.
    """
    candidates = index.candidates(pattern.source, pattern.ignore_case)
    if paths is None:
        paths = index.paths() if candidates is None else candidates
    elif candidates is not None:
        chosen = set(candidates)
        paths = [path for path in paths if path in chosen]
    deadline = time.monotonic() + DEADLINE_SECONDS
    for path in paths:
        if path < after[0]:
            continue
        if time.monotonic() > deadline:
            raise CodeintelError(
                f"the search took longer than {DEADLINE_SECONDS:g} s; narrow it with path"
            )
        first = after[1] if path == after[0] else 0
        text = index.content(path)
        for number, start, end, offset in matching_lines(pattern.compiled, text):
            if number > first:
                yield Hit(path, number, _excerpt(text[start:end], offset - start))


def _excerpt(line: bytes, offset: int) -> str:
    """Return the line, or the part around `offset` (bytes) when it is too long to show."""
    text = line.decode().rstrip("\r")
    if len(text) <= MAX_LINE:
        return text
    start = max(0, len(line[:offset].decode(errors="ignore")) - MAX_LINE // 4)
    part = text[start : start + MAX_LINE]
    return f"{'…' if start else ''}{part}{'…' if start + MAX_LINE < len(text) else ''}"
