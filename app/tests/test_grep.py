from collections.abc import Callable
from pathlib import Path

import pytest
from codeintel import grep as grep_module
from codeintel.errors import CodeintelError
from codeintel.grep import MAX_LINE, compile_pattern, grep
from codeintel.store import Index, index_path, open_index


@pytest.fixture
def search(index: Callable[..., object], index_dir: Path) -> Callable[..., list[tuple[int, str]]]:
    def run(text: str, pattern: str, *, ignore_case: bool = False) -> list[tuple[int, str]]:
        index({"a.txt": text}, "main")
        with open_index(index_path(index_dir, "main")) as opened:
            compiled = compile_pattern(pattern, ignore_case=ignore_case)
            return [(hit.line, hit.text) for hit in grep(opened, compiled, opened.paths())]

    return run


Search = Callable[..., list[tuple[int, str]]]


def test_lines_are_numbered_from_one_and_shown_once(search: Search) -> None:
    assert search("aa\nb\naa aa\n\na", "a") == [(1, "aa"), (3, "aa aa"), (5, "a")]


def test_anchors_case_and_carriage_returns(search: Search) -> None:
    assert search("Foo\r\nxfoo\n", "^foo", ignore_case=True) == [(1, "Foo")]
    assert search("Foo\nxfoo\n", "foo$") == [(2, "xfoo")]


@pytest.mark.parametrize("pattern", ["x*", "^", "$", "^$|b"])
def test_empty_matches_neither_loop_nor_invent_lines(search: Search, pattern: str) -> None:
    lines = [number for number, _ in search("a\n\nb\n", pattern)]
    assert lines == ([2, 3] if pattern == "^$|b" else [1, 2, 3])


def test_an_empty_file_has_no_lines(search: Search) -> None:
    assert search("", "^") == []


def test_a_long_line_is_an_excerpt_around_the_match(search: Search) -> None:
    [(_, text)] = search("é" * 5000 + "needle" + "x" * 5000, "needle")
    assert "needle" in text
    assert text.startswith("…é")
    assert text.endswith("x…")
    assert len(text) == MAX_LINE + 2


def test_a_match_inside_a_character_does_no_harm(search: Search) -> None:
    assert len(search("é" * 500, r"\C$")) == 1


def test_continues_after_a_line(index: Callable[..., object], index_dir: Path) -> None:
    index({"a": "x\nx\n", "b": "x\n", "c": "x\n"}, "main")
    with open_index(index_path(index_dir, "main")) as opened:
        hits = grep(opened, compile_pattern("x", ignore_case=False), opened.paths(), ("a", 1))
        assert [(hit.path, hit.line) for hit in hits] == [("a", 2), ("b", 1), ("c", 1)]


def test_only_candidates_are_read(
    index: Callable[..., object], index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index({"a": "needle", "b": "hay", "c": "Needle"}, "main")
    with open_index(index_path(index_dir, "main")) as opened:
        read: list[str] = []
        content = opened.content

        def note(_index: Index, path: str) -> bytes:
            read.append(path)
            return content(path)

        monkeypatch.setattr(Index, "content", note)
        for paths in (None, opened.paths()):
            pattern = compile_pattern("needle", ignore_case=False)
            assert [hit.path for hit in grep(opened, pattern, paths)] == ["a"]
            assert read == ["a", "c"]
            read.clear()


def test_the_deadline_says_what_to_do(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grep_module, "DEADLINE_SECONDS", -1.0)
    with pytest.raises(CodeintelError, match="narrow it with path"):
        search("x", "x")


def test_an_invalid_pattern_says_what_is_possible() -> None:
    with pytest.raises(CodeintelError, match=r"invalid pattern: .*look-around"):
        compile_pattern("(?=x)", ignore_case=False)
