import pytest
from codeintel.ranking import expanded, factor, is_demoted, name_key, parts, words


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("getHTTPResponse", ["get", "http", "response"]),
        ("snake_case_name", ["snake", "case", "name"]),
        ("__init__", ["init"]),
        ("MAX_SIZE", ["max", "size"]),
        ("utf8", ["utf", "8"]),
        ("größteZahl", ["größte", "zahl"]),
        ("_", []),
    ],
)
def test_parts_of_a_name(name: str, expected: list[str]) -> None:
    assert parts(name) == expected


def test_only_compound_names_are_expanded() -> None:
    assert expanded("def run(self, HTTPServer, max_size, Text)") == (
        "def run(self, HTTPServer, max_size, Text) http server max size"
    )


def test_words_of_a_question() -> None:
    assert words("How does the fetchUser2 call?") == ["fetchUser2", "fetch", "user", "call"]
    assert words("what is it") == ["what", "is", "it"], "better than nothing"
    assert words('"?!" -') == []


@pytest.mark.parametrize(
    "path",
    [
        "tests/a.py",
        "a/test/b.js",
        "a/test_b.py",
        "a_test.go",
        "b.spec.ts",
        "docs/a.py",
        "README.md",
        "a/__tests__/b.js",
    ],
)
def test_tests_and_documents_are_demoted(path: str) -> None:
    assert is_demoted(path)
    assert factor(path, None, []) == factor("a.py", None, []) / 2


@pytest.mark.parametrize("path", ["a.py", "contest/a.py", "testimony.py", "src/doctor.py"])
def test_code_is_not(path: str) -> None:
    assert not is_demoted(path)


def test_the_very_symbol_counts_more() -> None:
    assert factor("a.py", "A.run", ["run"]) > factor("a.py", "A.run", ["ran"])


def test_the_nearest_name_comes_first() -> None:
    names = ["HttpGetter", "get_all", "Get", "widget", "target_x_get"]
    assert sorted(names, key=lambda name: name_key(name, "get")) == [
        "Get",
        "get_all",
        "widget",
        "HttpGetter",
        "target_x_get",
    ]
