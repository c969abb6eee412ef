import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from codeintel import indexer, scip
from codeintel.errors import CodeintelError
from codeintel.extract import Extract, extract
from codeintel.indexer import BuildSummary, build_index
from codeintel.scip import Occurrence
from codeintel.store import Reference, index_path, open_index
from hypothesis import given, settings
from hypothesis import strategies as st

Index = Callable[..., BuildSummary]


def test_texts_and_counts(index: Index, index_dir: Path) -> None:
    summary = index(
        {"b.py": "1\n2", "a.py": "é\n", "empty": "", "x.bin": b"\0", ".env": ""}, "main"
    )
    assert (summary.files, summary.size) == (3, 6)
    with open_index(index_path(index_dir, "main")) as opened:
        assert opened.paths() == ["a.py", "b.py", "empty"]
        file = opened.file("b.py")
        assert file is not None
        assert (file.lines, file.text) == (2, "1\n2")
        assert [opened.file(path).lines for path in ("a.py", "empty")] == [1, 0]  # type: ignore[union-attr]  # exist
        assert opened.content("a.py") == "é\n".encode()
        assert dict(opened.info.skipped) == {"binary": 1, "secret": 1}
        assert opened.info.files == 3


def test_the_generation_follows_the_content(index: Index, index_dir: Path) -> None:
    def generation() -> str:
        with open_index(index_path(index_dir, "main")) as opened:
            return opened.info.generation

    index({"a.py": "1"}, "main")
    first = generation()
    index({"a.py": "1"}, "main")
    assert generation() == first
    index({"a.py": "2"}, "main")
    assert generation() != first


def test_another_user_can_read_it_despite_the_umask(index: Index, index_dir: Path) -> None:
    before = os.umask(0o077)
    try:
        index_dir.mkdir()
        index({"a.py": "1"}, "main")
    finally:
        os.umask(before)
    assert stat.S_IMODE(index_path(index_dir, "main").stat().st_mode) == 0o644


def test_an_open_reader_keeps_its_generation(index: Index, index_dir: Path) -> None:
    index({"a.py": "old"}, "main")
    with open_index(index_path(index_dir, "main")) as opened:
        index({"a.py": "new"}, "main")
        assert opened.content("a.py") == b"old"
    with open_index(index_path(index_dir, "main")) as opened:
        assert opened.content("a.py") == b"new"


def test_a_failed_build_leaves_the_old_index_and_nothing_else(
    index: Index, index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index({"a.py": "old"}, "main")

    def fail(_path: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(indexer, "_fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        index({"a.py": "new"}, "main")
    assert list(index_dir.iterdir()) == [index_path(index_dir, "main")]
    with open_index(index_path(index_dir, "main")) as opened:
        assert opened.content("a.py") == b"old"


KILL = "lambda *_arguments: os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.parametrize(
    "moment",
    [
        f"indexer._fsync = {KILL}",
        f"indexer._describe = {KILL}",
        f"indexer._add_vectors = {KILL}",
        f"indexer.extract = {KILL}",
    ],
)
def test_a_killed_build_loses_nothing_and_is_cleaned_up(
    index: Index, index_dir: Path, tmp_path: Path, moment: str
) -> None:
    index({"a.py": "old"}, "main")
    before = index_path(index_dir, "main").read_bytes()
    script = (
        "import os, signal, sys; from pathlib import Path; from codeintel import indexer\n"
        f"{moment}\n"
        "indexer.build_index(Path(sys.argv[1]), 'main', Path(sys.argv[2]))\n"
    )
    tree = tmp_path / "tree-main"
    (tree / "a.py").write_text("new")
    command = [sys.executable, "-c", script, str(tree), str(index_dir)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert index_path(index_dir, "main").read_bytes() == before
    [leftover] = index_dir.glob(".main-*")
    index({"a.py": "new"}, "main")
    assert leftover.exists(), "it could belong to a build that still runs"
    os.utime(leftover, (0, 0))
    index({"a.py": "new"}, "main")
    assert list(index_dir.iterdir()) == [index_path(index_dir, "main")]
    with open_index(index_path(index_dir, "main")) as opened:
        assert opened.content("a.py") == b"new"


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 65, "a\nb"])
def test_names_that_are_no_file_name_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CodeintelError, match="invalid repository name"):
        build_index(tmp_path, name, tmp_path / "indexes")
    assert not (tmp_path / "indexes").exists()


def test_what_has_not_changed_is_carried_over(
    index: Index, index_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"a.py": "def a(): pass", "b.py": "def b(): pass", "x.bin": b"\0", ".env": ""}
    assert index(files, "main").changed == 2
    extracted: list[bytes] = []

    def note(language: str | None, content: bytes) -> Extract:
        extracted.append(content)
        return extract(language, content)

    monkeypatch.setattr(indexer, "extract", note)
    (tmp_path / "tree-main/b.py").unlink()
    summary = index({"c.py": "def c(): pass"}, "main")
    assert extracted == [b"def c(): pass"]
    assert (summary.changed, summary.files) == (2, 2)
    assert summary.skipped == {"binary": 1, "secret": 1}
    with open_index(index_path(index_dir, "main")) as opened:
        assert opened.paths() == ["a.py", "c.py"]
        assert not opened.symbols("b")


@pytest.mark.parametrize(
    "harm",
    [
        "PRAGMA user_version = 1",
        "UPDATE meta SET value = 'codeintel 0' WHERE key = 'builder'",
        "DELETE FROM meta WHERE key = 'files'",
        "DROP TABLE symbols",
        "UPDATE texts SET text = x'00'",
    ],
)
def test_an_index_that_cannot_be_updated_is_built_anew(
    index: Index, index_dir: Path, harm: str
) -> None:
    index({"a.py": "def a(): pass", "b.py": "def b(): pass"}, "main")
    with sqlite3.connect(index_path(index_dir, "main")) as database:
        database.execute(harm)
    assert index({"a.py": "def c(): pass"}, "main").changed == 2
    with open_index(index_path(index_dir, "main")) as opened:
        assert [s.name for path in opened.paths() for s in opened.outline(path)] == ["c", "b"]


def test_progress_ends_with_everything(write_tree: Callable[..., Path], index_dir: Path) -> None:
    seen: list[tuple[int, int]] = []
    root = write_tree({"a.py": "", "b.py": ""})
    build_index(root, "main", index_dir, lambda *counts: seen.append(counts))
    assert seen == [(0, 2), (1, 2), (2, 2)]


def test_what_an_index_says_of_itself(index: Index, index_dir: Path) -> None:
    index({"a.py": "def a(): pass", "b.go": "package b", "c": ""}, "main")
    index({"c.txt": "words"}, "other")
    with open_index(index_path(index_dir, "main")) as opened:
        assert opened.info.symbols == 1
        assert opened.info.languages == {"python": 1, "go": 1}
        assert opened.info.capabilities == {"text", "symbols", "references"}
    with open_index(index_path(index_dir, "other")) as opened:
        assert opened.info.capabilities == {"text"}


FULL_TEXT = "CREATE VIRTUAL TABLE temp.{0}_words USING fts5vocab(main, {0}, instance)"


def contents(index_dir: Path, name: str) -> dict[str, list[tuple[object, ...]]]:
    """Return everything in an index, by path in place of ids."""
    with open_index(index_path(index_dir, name)) as opened:
        database = opened._database
        for table in "trigrams", "ranks":
            database.execute(FULL_TEXT.format(table))
        queries = {
            "files": "SELECT path, language, size, sha256, lines, text FROM files JOIN texts"
            " ON file = files.id",
            "symbols": "SELECT path, symbols.id & 0xFFFFF, name, kind, line, end_line, container,"
            " signature FROM symbols JOIN files ON files.id = symbols.id >> 20",
            "chunks": "SELECT path, chunks.id & 0xFFFFF, line, end_line, symbol FROM chunks"
            " JOIN files ON files.id = chunks.id >> 20",
            "refs": "SELECT path, refs.id & 0xFFFFF, name, kind, refs.lines FROM refs"
            " JOIN files ON files.id = refs.id >> 20",
            "skipped": "SELECT path, reason FROM skipped",
            "meta": "SELECT key, value FROM meta WHERE key != 'indexed_at'",
            "trigrams": "SELECT path, term FROM trigrams_words JOIN files ON doc = files.id",
            "ranks": "SELECT path, term, doc & 0xFFFFF, col, offset FROM ranks_words"
            " JOIN files ON doc >> 20 = files.id",
        }
        found = {table: sorted(database.execute(query)) for table, query in queries.items()}
        orphans = "SELECT doc FROM trigrams_words WHERE doc NOT IN (SELECT id FROM files)"
        found["orphans"] = database.execute(orphans).fetchall()
        ranked = opened.ranked("alpha beta", limit=50)
        return found | {"ranked": [(r.path, r.start_line, round(r.score, 9)) for r in ranked]}


CONTENT = st.lists(
    st.sampled_from(
        [
            "def alpha(): beta()",
            "class Beta:",
            "    def gamma(self): pass",
            "import alphaBeta",
            "",
            "é = alpha_beta",
        ]
    ),
    max_size=6,
).map("\n".join)
PATHS = st.sampled_from(["a.py", "sub/b.py", "sub/c.txt", "tests/d.py", "e.js", ".env"])
EDITS = st.lists(st.dictionaries(PATHS, st.none() | CONTENT, max_size=4), min_size=2, max_size=4)


@settings(max_examples=15, deadline=None)
@given(EDITS)
def test_an_updated_index_equals_a_full_one(edits: list[dict[str, str | None]]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        tree, index_dir = Path(temporary, "tree"), Path(temporary, "indexes")
        tree.mkdir()
        for edit in edits:
            for path, content in edit.items():
                file = tree / path
                file.parent.mkdir(exist_ok=True)
                if content is None:
                    file.unlink(missing_ok=True)
                else:
                    file.write_text(content)
            with pytest.MonkeyPatch.context() as patch:
                if index_path(index_dir, "updated").exists():
                    patch.setattr(indexer, "SCHEMA", "a new start fails")
                build_index(tree, "updated", index_dir)
        build_index(tree, "full", index_dir)
        assert contents(index_dir, "updated") == contents(index_dir, "full")


def test_occurrences_that_no_longer_fit_are_dropped(
    write_tree: Callable[..., Path],
    index_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = write_tree({"a.py": "def run(): pass\n", "b.py": "run()\n# run\n\n"})
    found = [
        Occurrence("a.py", 1, "run", "a/run().", "definition"),
        Occurrence("b.py", 1, "run", "a/run().", "reference"),
        Occurrence("b.py", 3, "run", "a/run().", "reference"),
        Occurrence("b.py", 9, "run", "a/run().", "reference"),
        Occurrence("gone.py", 1, "run", "a/run().", "reference"),
        Occurrence("a.py", 1, "a", "a/__init__:", "definition"),
    ]
    monkeypatch.setattr(scip, "read_occurrences", lambda _file: iter(found))
    assert build_index(root, "main", index_dir, scip=tmp_path / "index.scip").stale == 3
    with open_index(index_path(index_dir, "main")) as opened:
        assert "scip" in opened.info.capabilities
        assert opened.references("run")[0] == [
            Reference("a.py", 1, "definition"),
            Reference("b.py", 1, "reference"),
        ]
    build_index(root, "main", index_dir)
    with open_index(index_path(index_dir, "main")) as opened:
        assert "scip" not in opened.info.capabilities
        assert [r.line for r in opened.references("run")[0]] == [1, 1, 2]
