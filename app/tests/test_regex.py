import time

import pytest
from codeintel.regex import InvalidPatternError, compile_regex


def test_hostile_patterns_take_linear_time() -> None:
    started = time.monotonic()
    assert compile_regex(rb"^(a+)+$").search(b"a" * 100_000 + b"!") is None
    assert time.monotonic() - started < 1


def test_a_match_stays_within_a_line() -> None:
    assert compile_regex(b"a[^x]b").search(b"a\nb") is None
    found = compile_regex(b"^b$").search(b"a\nb\nc")
    assert found is not None
    assert found.start() == 2


@pytest.mark.parametrize("pattern", [b"(", b"(?=x)", rb"(a)\1", b"(x{1000}){1000}", b"\xff"])
def test_what_re2_refuses_is_one_line(pattern: bytes) -> None:
    with pytest.raises(InvalidPatternError) as refusal:
        compile_regex(pattern)
    assert str(refusal.value)
    assert "\n" not in str(refusal.value)
