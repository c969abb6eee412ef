"""The budget of an answer: what is over it becomes a page or a count, and is never cut."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, SerializerFunctionWrapHandler, model_serializer
from pydantic_core import to_json

from codeintel.cursor import decode_cursor, encode_cursor

MAX_ANSWER = 24_000
"""Characters of one answer in JSON; clients warn or spill to a file beyond about this."""

ENVELOPE = 2_000
"""Characters kept for the members beside the list that fills an answer."""

_LIST = MAX_ANSWER - ENVELOPE

MAX_COUNTS = 60
"""Most files that counts name: whoever sees more has to narrow the question anyway."""


T = TypeVar("T")
Shown = TypeVar("Shown")


class Answer(BaseModel):
    """An answer without the members that say nothing: an agent pays for each."""

    @model_serializer(mode="wrap")
    def _drop_none(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


def size(value: object) -> int:
    """Return the length in characters of `value` in the JSON that clients get."""
    return len(to_json(value).decode())


def fit(parts: Iterable[T], budget: int = _LIST) -> Iterator[T]:
    """Yield as many of `parts`, each whole, as `budget` characters of JSON hold."""
    for part in parts:
        budget -= size(part) + 1
        if budget < 0:
            return
        yield part


def page(  # noqa: PLR0913 (all but two are named)
    items: Sequence[T],
    show: Callable[[T], Shown],
    *,
    limit: int,
    cursor: str | None,
    query: object,
    generation: str,
    budget: int = _LIST,
) -> tuple[list[Shown], str | None]:
    """Return up to `limit` of `items` as `show` gives them, and the cursor of the rest.

    Raises CodeintelError for a cursor of another query or generation.
    """
    _, start = decode_cursor(cursor, query, generation)
    shown = list(fit((show(item) for item in items[start : start + limit]), budget))
    end = start + len(shown)
    more = bool(shown) and end < len(items)
    return shown, encode_cursor(query, generation, "", end) if more else None


def most(counts: Counter[str], budget: int = _LIST) -> tuple[dict[str, int], str]:
    """Return the largest of `counts`, and how many are left out, as words to add to a hint."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = dict(fit(ranked[:MAX_COUNTS], budget))
    left = len(ranked) - len(shown)
    return shown, f" and {left} more files" if left else ""
