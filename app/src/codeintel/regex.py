"""Regular expressions whose time is linear in the text, whatever the pattern (RE2)."""

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
