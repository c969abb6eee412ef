import json
from collections import Counter

import pytest
from codeintel.budget import MAX_COUNTS, Answer, fit, most, page, size
from codeintel.errors import CodeintelError
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.text(max_size=40)), st.integers(min_value=2, max_value=300))
def test_what_fits_is_whole_and_within_the_budget(parts: list[str], budget: int) -> None:
    shown = list(fit(parts, budget))
    assert shown == parts[: len(shown)]
    assert size(shown) <= budget + 1
    # The next one would not have fitted.
    assert shown == parts or size(parts[: len(shown) + 1]) > budget - 1


@given(st.lists(st.text(max_size=2000), max_size=60), st.integers(min_value=1, max_value=20))
def test_pages_join_to_the_whole(items: list[str], limit: int) -> None:
    seen: list[str] = []
    cursor = None
    while True:
        shown, cursor = page(
            items, str.upper, limit=limit, cursor=cursor, query=["q"], generation="g"
        )
        assert len(shown) <= limit
        seen += shown
        if cursor is None:
            break
    assert seen == [item.upper() for item in items]


def test_a_page_refuses_the_cursor_of_another_generation() -> None:
    _, cursor = page(["a", "b"], str, limit=1, cursor=None, query=["q"], generation="g")
    with pytest.raises(CodeintelError, match="stale cursor"):
        page(["a", "b"], str, limit=1, cursor=cursor, query=["q"], generation="h")


def test_the_largest_counts_come_first_and_the_rest_is_mentioned() -> None:
    counts, more = most(Counter({"b": 1, "a": 1, "c": 3}))
    assert (list(counts), more) == (["c", "a", "b"], "")
    counts, more = most(Counter({f"{number}": 1 for number in range(MAX_COUNTS + 7)}))
    assert (len(counts), more) == (MAX_COUNTS, " and 7 more files")


def test_an_answer_says_nothing_of_what_it_has_not() -> None:
    class Example(Answer):
        found: list[str]
        hint: str | None = None

    assert json.loads(Example(found=[]).model_dump_json()) == {"found": []}
    assert Example(found=[], hint="more").model_dump() == {"found": [], "hint": "more"}
