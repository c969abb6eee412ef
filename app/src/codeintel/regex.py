"""Regular expressions whose time is linear in the text, whatever the pattern (RE2)."""

from collections.abc import Iterator
from typing import Protocol

import re2  # type: ignore[import-untyped]  # google-re2 ships no types; the ones used are below

MAX_MEMORY = 8 << 20  # bytes for one compiled pattern


class InvalidPatternError(ValueError):
    """RE2 does not accept the pattern; the message is its own, in one line."""


class Match(Protocol):
    """A match."""

    def start(self) -> int:
        """Return the offset of the first byte."""


class Pattern(Protocol):
    """A compiled pattern over bytes."""

    def search(self, text: bytes, pos: int = 0) -> Match | None:
        """Return the first match at or after `pos`."""

    def fullmatch(self, text: bytes) -> Match | None:
        """Return the match of all of `text`."""


def compile_regex(pattern: bytes, *, ignore_case: bool = False) -> Pattern:
    """Compile `pattern` (UTF-8); ``^`` and ``$`` match at line ends and no match spans lines.

    Raises InvalidPatternError for what RE2 does not accept.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_MEMORY
    options.case_sensitive = not ignore_case
    options.never_nl = True
    try:
        compiled: Pattern = re2.compile(b"(?m)" + pattern, options)
    except re2.error as error:
        message = error.args[0]
        text = message.decode(errors="replace") if isinstance(message, bytes) else str(message)
        raise InvalidPatternError(" ".join(text.split())) from error
    return compiled


def escape(text: str) -> str:
    """Return a pattern that matches exactly `text`."""
    escaped: str = re2.escape(text)
    return escaped


def matching_lines(pattern: Pattern, text: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield (number, start, end, offset of the match) of each line that matches.

    Numbers count from 1, the rest are offsets in `text`; the line feed is not part of a line.
    """
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
        yield number, start, end, offset
        number, at = number + 1, end + 1
