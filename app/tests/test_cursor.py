import base64

import pytest
from codeintel.cursor import decode_cursor, encode_cursor
from codeintel.errors import CodeintelError

QUERY = ["grep", "main", "x"]


def test_round_trip() -> None:
    cursor = encode_cursor(QUERY, "g1", "src/ä b.py", 12)
    assert decode_cursor(cursor, QUERY, "g1") == ("src/ä b.py", 12)


def test_no_cursor_is_the_beginning() -> None:
    assert decode_cursor(None, QUERY, "g1") == ("", 0)


@pytest.mark.parametrize(
    ("query", "generation", "message"),
    [(QUERY, "g2", "stale cursor"), (["grep", "main", "y"], "g1", "another query")],
)
def test_a_foreign_cursor_is_refused(query: list[str], generation: str, message: str) -> None:
    cursor = encode_cursor(QUERY, "g1", "a")
    with pytest.raises(CodeintelError, match=f"{message}.*repeat the call without cursor"):
        decode_cursor(cursor, query, generation)


@pytest.mark.parametrize(
    "value",
    ["", "[]", "null", "[1,2,3]", '["a","b",3,4]', '["a","b","c",true]', "[" * 5000, "\xff"],
)
def test_garbage_is_refused(value: str) -> None:
    for cursor in (value, base64.urlsafe_b64encode(value.encode("latin-1")).decode()):
        with pytest.raises(CodeintelError, match="not a cursor"):
            decode_cursor(cursor, QUERY, "g1")
