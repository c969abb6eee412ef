"""Translate a regular expression into a condition on the trigrams of a text.

The condition holds for every text that the expression matches, and for some more. What is not
understood makes it weaker, never wrong.
"""

import re
from dataclasses import dataclass

MAX_SET = 16
"""Strings that are followed as alternatives."""

MAX_TRIGRAMS = 32
"""Trigrams asked for of one string; more hardly narrow it down."""

MAX_EXPRESSION = 10_000
MAX_DEPTH = 20

_ANYTHING = frozenset({""})
_IGNORES_CASE = re.compile(r"\(\?[imsU-]*i")
_GROUP = re.compile(r"\((?:\?(?:P?<\w+>|[imsU-]*:))?(?!\?)")
_FLAGS = re.compile(r"\(\?[imsU-]+\)")
_REPEAT = re.compile(r"(?:\*|\+|\?|\{(\d+)(,?)(\d*)\})\??")
_CLASS = re.compile(r"\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]", re.DOTALL)
_FEW = re.compile(r"\[([^\]\\^\[-]{1,4})\]")
_ONE_OF_MANY = re.compile(r"\.|\\[dDwWsSC]|\\[pP](?:\{\^?\w+\}|[A-Z])")
_EMPTY = re.compile(r"\^|\$|\\[bBAz]")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_LITERAL = re.compile(r"[^\\\[\](){}|*+?.^$\n]|[{}\]]")


class _UnknownSyntaxError(Exception):
    """Something that may mean anything."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What a part of a pattern requires: a condition (empty for none), and then one of `exact`.

    `exact` is None when the part can match strings that are not listed.
    """

    condition: str
    exact: frozenset[str] | None

    def whole(self) -> str:
        """Return the condition of the part by itself."""
        return _both(self.condition, _one_of(self.exact or _ANYTHING))


def trigram_expression(pattern: str, *, ignore_case: bool) -> str | None:
    """Return an FTS5 expression that selects every text in which RE2 finds `pattern`.

    None when every text has to be searched.
    """
    # Trigrams ignore case anyway; it matters only for letters that fold in other ways than theirs.
    parser = _Parser(pattern, ignore_case or _IGNORES_CASE.search(pattern) is not None)
    try:
        expression = parser.alternation(0).whole()
    except _UnknownSyntaxError:
        return None
    if parser.at < len(pattern) or len(expression) > MAX_EXPRESSION:
        return None
    return expression or None


class _Parser:
    def __init__(self, pattern: str, ignore_case: bool) -> None:
        self._pattern = pattern
        self._ignore_case = ignore_case
        self.at = 0

    def alternation(self, depth: int) -> _Part:
        if depth > MAX_DEPTH:
            raise _UnknownSyntaxError
        branches = [self._sequence(depth)]
        while self._take("|"):
            branches.append(self._sequence(depth))
        if len(branches) == 1:
            return branches[0]
        exact: frozenset[str] = frozenset()
        for branch in branches:
            if branch.condition or branch.exact is None:
                break
            exact |= branch.exact
        else:
            if len(exact) <= MAX_SET:
                return _Part("", exact)
        return _Part(_either([branch.whole() for branch in branches]), None)

    def _sequence(self, depth: int) -> _Part:
        """Parse up to the end of a branch; the result's `exact` is how everything ends."""
        condition = ""
        tail = _ANYTHING
        open_end = False  # something that is not in `tail` came before it
        while self.at < len(self._pattern) and self._pattern[self.at] not in "|)":
            part, again = self._repeated(depth)
            joined = frozenset(a + b for a in tail for b in part.exact or ())
            if part.exact is not None and len(joined) <= MAX_SET:
                tail = joined
            else:
                condition = _both(condition, _one_of(tail), part.condition)
                tail = part.exact or _ANYTHING
                open_end = True
            if again:
                condition = _both(condition, _one_of(tail))
                tail = part.exact or _ANYTHING
                open_end = True
        if open_end:
            return _Part(_both(condition, _one_of(tail)), None)
        return _Part("", tail)

    def _repeated(self, depth: int) -> tuple[_Part, bool]:
        """Return an atom with its repetition, and whether it may come more than once."""
        part = self._atom(depth)
        again = False
        while found := self._match(_REPEAT):
            operator = found[0][0]
            if operator in "*?" or (operator == "{" and int(found[1]) == 0):
                if operator == "?" and part.exact is not None and len(part.exact) < MAX_SET:
                    part = _Part("", part.exact | _ANYTHING)
                else:
                    part = _Part("", None)
            else:
                again = True
        return part, again

    def _atom(self, depth: int) -> _Part:
        if self._match(_FLAGS) or self._match(_EMPTY):
            return _Part("", _ANYTHING)
        if self._match(_GROUP):
            part = self.alternation(depth + 1)
            if not self._take(")"):
                raise _UnknownSyntaxError
            return part
        if found := self._match(_FEW):
            return self._characters(found[1])
        if self._match(_CLASS) or self._match(_ONE_OF_MANY):
            return _Part("", None)
        if found := self._match(_ESCAPED):
            return self._characters(found[1])
        if found := self._match(_LITERAL):
            return self._characters(found[0])
        raise _UnknownSyntaxError

    def _characters(self, characters: str) -> _Part:
        if self._ignore_case and not characters.isascii():
            return _Part("", None)
        return _Part("", frozenset(characters))

    def _take(self, text: str) -> bool:
        found = self._pattern.startswith(text, self.at)
        self.at += found * len(text)
        return found

    def _match(self, syntax: re.Pattern[str]) -> re.Match[str] | None:
        found = syntax.match(self._pattern, self.at)
        if found:
            self.at = found.end()
        return found


def _one_of(texts: frozenset[str]) -> str:
    return _either([_all_trigrams(text) for text in sorted(texts)])


def _all_trigrams(text: str) -> str:
    found = dict.fromkeys(text[at : at + 3] for at in range(len(text) - 2))
    step = -(-len(found) // MAX_TRIGRAMS) or 1
    return _both(*('"' + trigram.replace('"', '""') + '"' for trigram in list(found)[::step]))


def _both(*conditions: str) -> str:
    given = [condition for condition in conditions if condition]
    return given[0] if len(given) == 1 else " AND ".join(f"({condition})" for condition in given)


def _either(conditions: list[str]) -> str:
    """Return the condition that one of `conditions` holds: none if one of them says nothing."""
    different = list(dict.fromkeys(conditions))
    if not all(different):
        return ""
    return different[0] if len(different) == 1 else " OR ".join(f"({c})" for c in different)
