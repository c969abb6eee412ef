"""Every answer of every tool keeps within its budget, whatever is indexed and asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from codeintel.budget import MAX_ANSWER, size
from codeintel.context import ApplicationContext
from codeintel.directory import IndexDirectory
from codeintel.errors import CodeintelError
from codeintel.indexer import build_index
from codeintel.reading import split_lines
from codeintel.settings import Settings
from codeintel.store import index_path
from codeintel.tools import Tools
from hypothesis import given, settings
from hypothesis import strategies as st

DEEP = "/".join(["d" * 100] * 8)
TREE = {
    "empty.py": "",
    "wide.py": 'x = "' + "\\\\\u0001é" * 30_000 + '"\n',
    "tall.py": "".join(f"def function_{number}(): return needle\n" for number in range(2500)),
    "quotes.md": '"\t\\needle\u2028\x0b' * 3000,
    "mixed.js": "".join(f"function needle{n}() {{}} // {'é' * (n % 400)}\n" for n in range(900)),
    **{
        f"{DEEP}/needle_{n}_ä ö#%.py": f"def needle(): pass\n\n{'needle ' * n}\n" for n in range(60)
    },
}


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    root: Path = tmp_path_factory.mktemp("tree")
    for path, text in TREE.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text.encode())
    index_dir = tmp_path_factory.mktemp("indexes")
    build_index(root, "main", index_dir)
    index_path(index_dir, "broken").write_bytes(b"")
    template = "https://forge.example/{repository}/{commit}/{path}#L{start}-L{end}"
    options = Settings(index_dir=index_dir, url_template=template)
    return Tools(ApplicationContext("1", options, IndexDirectory(index_dir)))


paths = st.sampled_from(sorted(TREE, key=len)[:6])  # one of those deep down
lines = st.integers(1, 3000)
names = st.sampled_from(["needle", "function_7", "function", "e", "x", "Needle.needle"])
globs = st.none() | st.sampled_from(["*.py", "d*/**", "*.md", "nothing"])
calls = st.one_of(
    st.tuples(st.just("files"), st.fixed_dictionaries({"glob": globs})),
    st.tuples(
        st.just("read"),
        st.fixed_dictionaries(
            {"path": paths},
            optional={"start_line": lines, "end_line": lines, "around": lines},
        ),
    ),
    st.tuples(
        st.just("grep"),
        st.fixed_dictionaries(
            {
                "pattern": st.sampled_from(["needle", "^", "é+", "function_", ".", "x", "a|b"]),
                "limit": st.integers(1, 500),
                "path": globs,
            }
        ),
    ),
    st.tuples(st.just("outline"), st.fixed_dictionaries({"path": paths})),
    st.tuples(st.just("symbols"), st.fixed_dictionaries({"name": names, "path": globs})),
    st.tuples(st.just("references"), st.fixed_dictionaries({"name": names, "path": globs})),
    st.tuples(
        st.just("search"),
        st.fixed_dictionaries({"query": st.sampled_from(["needle", "function lang:python"])}),
    ),
    st.tuples(
        st.just("fetch"),
        st.builds(lambda path, a, b: {"id": f"main/{path}#L{a}-L{b}"}, paths, lines, lines),
    ),
    st.just(("status", {})),
)


@settings(max_examples=150, deadline=None)
@given(calls)
def test_an_answer_is_within_its_budget_and_its_lines_are_whole(
    tools: Tools, call: tuple[str, dict[str, Any]]
) -> None:
    tool: Callable[..., Any] = getattr(tools, call[0])
    cursor: str | None = None
    for _ in range(3):
        more = {"cursor": cursor} if cursor else {}
        try:
            answer = tool(**call[1], **more)
        except CodeintelError as error:
            assert "\n" not in str(error)
            assert len(str(error)) < 1000
            return
        assert size(answer) <= MAX_ANSWER
        whole(call[0], answer)
        cursor = getattr(answer, "cursor", None)
        if cursor is None:
            return


def whole(tool: str, answer: Any) -> None:  # noqa: ANN401 (an answer of any tool)
    """Check that nothing was cut in the middle."""
    if tool == "read":
        expected = split_lines(TREE[answer.path])[answer.start_line - 1 : answer.end_line]
        assert answer.text == "".join(expected)
    if tool == "fetch":
        name, _, numbers = answer.id.removeprefix("main/").rpartition("#L")
        start, end = (int(number) for number in numbers.split("-L"))
        assert answer.text == "".join(split_lines(TREE[name])[start - 1 : end])
