import re
import sqlite3

import pytest
from codeintel.regex import InvalidPatternError, compile_regex, escape
from codeintel.schema import SCHEMA
from codeintel.trigrams import trigram_expression
from hypothesis import example, given, settings
from hypothesis import strategies as st

[TABLE] = re.findall(r"CREATE VIRTUAL TABLE trigrams.*?;", SCHEMA, re.DOTALL)


def candidates(expression: str, texts: list[str]) -> set[str]:
    database = sqlite3.connect(":memory:")
    database.execute(TABLE)
    rows = enumerate(texts)
    database.executemany("INSERT INTO trigrams (rowid, text) VALUES (?, ?)", rows)
    query = "SELECT rowid FROM trigrams WHERE trigrams MATCH ?"
    found = {texts[row] for (row,) in database.execute(query, (expression,))}
    database.close()
    return found


# Letters that fold in unusual ways: k and s have three forms each, sigma and sharp s too, and the
# last four only in newer versions of Unicode.
LETTERS = "abkKsS\u212a\u017féÉßẞ\u03c3\u03c2\u03a3\U0001d518_ \"'-\u1c90\u10d0\u13f8\u13f0"
TEXT = st.text(LETTERS, max_size=12)

Sample = tuple[str, str]
"""A pattern, and a text that it matches if no anchor forbids."""

CLASSES = [
    (".", "é"),
    (r"\w", "b"),
    (r"\d", "7"),
    (r"\pL", "ß"),
    (r"\p{Greek}", "\u03c3"),
    ("[ab]", "b"),
    ("[^a]", "k"),
    ("[a-k]", "b"),
    ("[]a]", "]"),
    ("[^]a]", "b"),
    ("[[:alpha:]b]", "s"),
    (r"[\]a]", "]"),
    (r"\b", ""),
    ("^", ""),
    ("$", ""),
    (r"\_", "_"),
    ("{", "{"),
    ("}", "}"),
    ("]", "]"),
    ("(?i)", ""),
    (r"\x61", "a"),
    (r"\Qa.\E", "a."),
]
ATOM: st.SearchStrategy[Sample] = st.one_of(
    st.text(LETTERS, min_size=1, max_size=4).map(lambda text: (escape(text), text)),
    st.sampled_from(CLASSES),
    st.sampled_from("abks").map(lambda letter: (letter, letter)),
)
REPEATS = [("", 1), ("*", 0), ("*", 2), ("+", 1), ("+", 2), ("?", 0), ("?", 1), ("{2}", 2)]
REPEAT = st.sampled_from([*REPEATS, ("{0,2}", 0), ("{1,}", 3), ("*?", 1), ("{0}", 0)])


def repeated(part: Sample, repeat: tuple[str, int]) -> Sample:
    return f"(?:{part[0]}){repeat[0]}", part[1] * repeat[1]


def grown(inner: st.SearchStrategy[Sample]) -> st.SearchStrategy[Sample]:
    group = st.sampled_from(["(", "(?:", "(?i:", "(?P<n>", "(?s-i:"])
    return st.one_of(
        st.lists(inner, min_size=2, max_size=5).map(
            lambda parts: ("".join(p for p, _ in parts), "".join(t for _, t in parts))
        ),
        st.lists(inner, min_size=2, max_size=3).map(
            lambda parts: ("|".join(p for p, _ in parts), parts[0][1])
        ),
        st.tuples(group, inner).map(lambda pair: (f"{pair[0]}{pair[1][0]})", pair[1][1])),
        st.builds(repeated, inner, REPEAT),
    )


SAMPLES = st.recursive(ATOM, grown, max_leaves=10)
JUNK = st.text("abks()[]{}|*+?.^$\\,:-<>P1Q" + LETTERS, max_size=12)


def check(pattern: str, texts: list[str], *, ignore_case: bool) -> None:
    """Compare with a plain scan."""
    try:
        compiled = compile_regex(pattern.encode(), ignore_case=ignore_case)
    except InvalidPatternError:
        return
    expression = trigram_expression(pattern, ignore_case=ignore_case)
    if expression is not None:
        matching = {text for text in texts if compiled.search(text.encode())}
        assert matching <= candidates(expression, texts)


@settings(max_examples=400, deadline=None)
@given(SAMPLES, TEXT, st.booleans())
@example(("ask", "a\u017f\u212a"), "", True)
@example(("ba+b", "baab"), "", False)
@example(("[]abk]s", "]s"), "", False)
@example(("[[:alpha:]kss]b", "sb"), "", False)
@example(("a\u10d0bc", "a\u1c90bc"), "", True)
def test_no_match_is_ever_missed(sample: Sample, around: str, ignore_case: bool) -> None:
    pattern, text = sample
    texts = [text, around + text, text + around, text.upper(), text.lower(), around]
    check(pattern, texts, ignore_case=ignore_case)


@settings(max_examples=200, deadline=None)
@given(JUNK, st.booleans())
@example("a{,2}bc", False)
def test_unknown_syntax_misses_nothing(pattern: str, ignore_case: bool) -> None:
    texts = [pattern, re.sub(r"\W", "", pattern), re.sub(r"\\(.)", r"\1", pattern)]
    check(pattern, texts, ignore_case=ignore_case)


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=3).filter(lambda t: not {"\0", "\n"} & set(t)), st.booleans())
def test_any_text_is_found_by_itself(text: str, ignore_case: bool) -> None:
    expression = trigram_expression(escape(text), ignore_case=ignore_case)
    if expression is not None:
        assert candidates(expression, [text, f"x{text}\ny"]) == {text, f"x{text}\ny"}


TEXTS = ["foobar", "Foo bar", "barbaz", "color", "colour", "get_name", "set_name", "xyz"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("foobar", {"foobar"}),
        ("(?i)FOO", {"foobar", "Foo bar"}),
        ("xyz|foobar", {"xyz", "foobar"}),
        ("colou?r", {"color", "colour"}),
        ("(get|set)_name", {"get_name", "set_name"}),
        ("[gs]et_name", {"get_name", "set_name"}),
        (r"\bfoo\w+", {"foobar", "Foo bar"}),
        ("bar.*baz", {"barbaz"}),
        ("(bar)+baz", {"barbaz"}),
        (r"xyz\(?", {"xyz"}),
        ("(?:(?:foo)b)ar", {"foobar"}),
    ],
)
def test_what_a_pattern_requires_narrows_the_choice(pattern: str, found: set[str]) -> None:
    expression = trigram_expression(pattern, ignore_case=False)
    assert expression is not None
    assert candidates(expression, TEXTS) == found


@pytest.mark.parametrize(
    "pattern", ["", "fo", "f.o", "foo|", "(foo)?", "foo|x", r"\Qfoo\E", r"\x66oo", "(foo", "foo)"]
)
def test_what_says_nothing_selects_everything(pattern: str) -> None:
    assert trigram_expression(pattern, ignore_case=False) is None


@pytest.mark.parametrize("pattern", ["(" * 500 + "abc" + ")" * 500, "(abc|" * 190, "abcd" * 250])
def test_large_patterns_do_no_harm(pattern: str) -> None:
    expression = trigram_expression(pattern, ignore_case=False)
    if expression is not None:
        assert candidates(expression, [pattern]) == {pattern}
