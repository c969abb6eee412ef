from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from codeintel.store import Index, Reference, index_path, open_index

Open = Callable[[dict[str, str]], AbstractContextManager[Index]]


@pytest.fixture
def opened(index: Callable[..., object], index_dir: Path) -> Open:
    @contextmanager
    def run(files: dict[str, str]) -> Iterator[Index]:
        index(files, "main")
        with open_index(index_path(index_dir, "main")) as found:
            yield found

    return run


CODE = {
    "app/models.py": "class Query:\n    def run(self):\n        return run_query()\n\n\n"
    "def run_query():\n    pass\n",
    "app/views.py": "from app.models import run_query\n\n# run_query is slow\nx = run_query()\n"
    "my_run_query = 1\n",
    "tests/test_models.py": "def run_query():\n    pass\n",
}


def test_an_outline_is_in_the_order_of_lines(opened: Open) -> None:
    with opened(CODE) as index:
        query, run, run_query = index.outline("app/models.py")
        assert (query.kind, query.line, query.end_line) == ("class", 1, 3)
        assert (run.container, run.name, run.kind) == ("Query", "run", "method")
        assert run_query.signature == "def run_query():"
        assert index.outline("missing.py") == []


def test_exact_symbols_prefer_the_same_case_and_code(opened: Open) -> None:
    files = {**CODE, "z.py": "class RUN_QUERY: pass\n", "b.py": "class run_queries: pass\n"}
    with opened(files) as index:
        assert [s.path for s in index.symbols("run_query")] == [
            "app/models.py",
            "tests/test_models.py",
            "z.py",
        ]
        assert index.symbols("RUN_QUERY")[0].path == "z.py"
        assert index.symbols("run_") == []


@pytest.mark.parametrize("asked", ["run_quer", "runQuery", "query run", "QUERY"])
def test_like_symbols_contain_the_name_or_its_parts(opened: Open, asked: str) -> None:
    with opened(CODE) as index:
        assert "run_query" in {s.name for s in index.similar_symbols(asked, bool)}
        assert "run" not in {s.name for s in index.similar_symbols(asked, bool)}


@pytest.mark.parametrize("asked", ["", "%", "'", '"', "_"])
def test_odd_names_do_no_harm(opened: Open, asked: str) -> None:
    with opened(CODE) as index:
        index.symbols(asked)
        index.similar_symbols(asked, bool)
        index.ranked(asked, limit=5)
        assert index.references(asked or "x") is not None


def test_references_are_whole_words_of_known_kinds(opened: Open) -> None:
    with opened(CODE) as index:
        assert "scip" not in index.info.capabilities
        assert index.references("run_query")[0] == [
            Reference("app/models.py", 3, "call"),
            Reference("app/models.py", 6, "definition"),
            Reference("app/views.py", 1, "import"),
            Reference("app/views.py", 3, "reference"),
            Reference("app/views.py", 4, "call"),
            Reference("tests/test_models.py", 1, "definition"),
        ]


def test_the_chunk_of_a_line(opened: Open) -> None:
    with opened(CODE) as index:
        assert index.chunk("app/models.py", 3) == (2, 3)
        assert index.chunk("app/models.py", 6) == (6, 7)
        assert index.chunk("app/models.py", 99) == (99, 99)
        assert index.chunk("missing.py", 1) == (1, 1)


def test_languages(opened: Open) -> None:
    with opened(CODE | {"x.unknown": ""}) as index:
        for path, language in (("app/views.py", "python"), ("x.unknown", None)):
            file = index.file(path)
            assert file is not None
            assert file.language == language


def test_candidates_are_in_order(opened: Open) -> None:
    with opened({"b": "needle", "a": "NEEDLE", "c": "nee dle"}) as index:
        assert index.candidates("needle", ignore_case=False) == ["a", "b"]
        assert index.candidates("ne", ignore_case=False) is None


def test_the_definition_ranks_before_its_test_and_other_texts(opened: Open) -> None:
    body = "    return template_engine(context)\n"
    files = {
        "engine/render.py": f"def render_page(context):\n{body}",
        "tests/test_render.py": f"def render_page(context):\n{body}",
        "engine/other.py": f"def other(context):\n{body}",
        "docs/render.rst": "How pages are rendered.\n",
    }
    with opened(files) as index:
        found = index.ranked("where are pages rendered with renderPage", limit=10)
        assert found[0].path == "engine/render.py"
        assert found[0].symbol == "render_page"
        assert (found[0].start_line, found[0].end_line) == (1, 2)
        assert [r.score for r in found] == sorted((r.score for r in found), reverse=True)
        assert len(index.ranked("context", limit=2)) == 2
        assert index.ranked("nothing_like_it", limit=5) == []


def test_a_file_with_several_good_chunks_comes_first(opened: Open) -> None:
    one = "def f{}():\n    needle, hay = 1, 2\n\n"
    files = {
        "a.py": one.format(1),
        "b.py": "".join(one.format(n) for n in range(4)),
        **{f"filler{n}.py": "x = 1\n" for n in range(9)},
    }
    with opened(files) as index:
        found = [r.path for r in index.ranked("needle", limit=3)]
        assert found[0] == "b.py"
        assert "a.py" in found, "not only the best file"
