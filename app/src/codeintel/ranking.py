"""How a query in words finds chunks of code: its words, their expression, and what they weigh."""

import re
from collections.abc import Sequence
from functools import lru_cache

WEIGHTS = (5.0, 5.0, 1.0)  # of the columns path, symbol and body in BM25
POOL = 300
"""Chunks that BM25 hands on to `factor`."""

_DEMOTION = 0.5
_SYMBOL_BOOST = 1.5
_DEMOTED = re.compile(
    r"(?:^|/)(?:tests?|testing|__tests__|specs?|docs?|documentation|examples?|fixtures|locale)/"
    r"|(?:^|/)(?:test_|conftest)[^/]*$|[._-](?:test|spec)s?\.\w+$"
    r"|\.(?:md|rst|txt|po|html)$",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")
_STOP = frozenset(
    re.findall(
        r"\w+",
        """a about after all also an and any are as at be been before but by can could do does each
        for from get had has have how if in into is it its may more most no not of on one only or
        other our out over same should so some such than that the their them then there these they
        this to under up use used uses using was we were what when where which while who why will
        with would you your""",
    )
)


def parts(name: str) -> list[str]:
    """Return the camel and snake parts of an identifier, in lower case."""
    return [part.lower() for part in _PART.findall(name)]


def expanded(text: str) -> str:
    """Return `text` followed by the parts of its compound identifiers, ready for the index."""
    return text + "".join(map(_more, dict.fromkeys(_WORD.findall(text))))


@lru_cache(maxsize=20_000)
def _more(word: str) -> str:
    if "_" not in word and (word.islower() or word[1:].islower()):
        return ""
    found = parts(word)
    return f" {' '.join(found)}" if len(found) > 1 else ""


def words(query: str) -> list[str]:
    """Return the words of `query` that say something, identifiers also in their parts."""
    found: dict[str, None] = {}
    for word in _WORD.findall(query):
        pieces = [part for part in parts(word) if not part.isdigit()]
        found |= dict.fromkeys([word, *pieces] if len(pieces) > 1 else [word])
    telling = [word for word in found if word.lower() not in _STOP]
    return telling or list(found)


def match_expression(words: Sequence[str]) -> str:
    """Return the FTS5 expression that any of `words` satisfies."""
    return " OR ".join(f'"{word}"' for word in words)


def is_demoted(path: str) -> bool:
    """Say whether `path` is a test or documentation, which rank behind the code itself."""
    return _DEMOTED.search(path) is not None


def factor(path: str, symbol: str | None, words: Sequence[str]) -> float:
    """Return what multiplies the BM25 score of a chunk for the place and symbol it has."""
    value = _DEMOTION if is_demoted(path) else 1.0
    return value * (_SYMBOL_BOOST if symbol and symbol.rpartition(".")[2] in words else 1.0)


def name_key(name: str, wanted: str) -> tuple[bool, bool, bool, int, str]:
    """Return the sort key of a symbol's `name` when `wanted` was asked: the nearest first."""
    low, asked = name.lower(), wanted.lower()
    return low != asked, not low.startswith(asked), asked not in low, len(name), name
