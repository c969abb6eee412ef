import pytest
from codeintel.errors import CodeintelError
from codeintel.query import Query, parse_query, path_filter
from hypothesis import given
from hypothesis import strategies as st


def test_filters_are_taken_out_of_the_words() -> None:
    assert parse_query("path:src/*.py open lang:PY repo:main the kind:Class file") == Query(
        text="open the file",
        paths=("src/*.py",),
        languages=("python",),
        repositories=("main",),
        kinds=("class",),
    )


def test_a_filter_given_twice_is_an_alternative() -> None:
    parsed = parse_query("x lang:c++ lang:rust repo:a repo:b repo:a")
    assert parsed.languages == ("cpp", "rust")
    assert parsed.repositories == ("a", "b")


@pytest.mark.parametrize(
    "query", ["std::path::join", "path::join kind::of", "xpath:a", "lang: python", "http://x/y:1"]
)
def test_what_only_looks_like_a_filter_is_words(query: str) -> None:
    parsed = parse_query(query)
    assert parsed.text == query
    assert not (parsed.paths or parsed.languages or parsed.kinds)


@pytest.mark.parametrize("query", ["", "  ", "lang:python path:src"])
def test_words_are_needed(query: str) -> None:
    with pytest.raises(CodeintelError, match="no words to rank by"):
        parse_query(query)


@given(st.text())
def test_any_text_is_a_query_or_refused_in_one_line(query: str) -> None:
    try:
        assert parse_query(query).text
    except CodeintelError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("patterns", "path", "matches"),
    [
        (("a/",), "a/b.py", True),
        (("B.PY",), "a/b.py", True),
        (("c",), "a/b.py", False),
        (("*.py",), "a/b.py", True),
        (("a/*.js",), "a/b.py", False),
        (("a/*.js", "b.py"), "a/b.py", True),
    ],
)
def test_paths_match_by_glob_or_part(patterns: tuple[str, ...], path: str, matches: bool) -> None:
    predicate = path_filter(patterns)
    assert predicate is not None
    assert predicate(path) is matches


def test_without_patterns_there_is_no_filter() -> None:
    assert path_filter(()) is None
