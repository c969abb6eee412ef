"""Real source trees, beside what Python itself says of them and a plain scan finds."""

import ast
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from codeintel.context import create_context
from codeintel.grep import compile_pattern, grep
from codeintel.indexer import build_index
from codeintel.search import by_words, search
from codeintel.settings import Settings
from codeintel.store import Index, index_path, open_index

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements/corpus.lock"
CORPUS = ROOT / ".cache/corpus" / sha256(LOCK.read_bytes()).hexdigest()[:16]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tree of the source distribution in the lock, outside of this git work tree."""
    if not CORPUS.exists():
        source = ["--no-deps", "--no-binary=:all:", "--require-hashes", "--requirement", str(LOCK)]
        part = CORPUS.with_suffix(".part")
        command = [sys.executable, "-m", "pip", "download", "--quiet", f"--dest={part}", *source]
        subprocess.run(command, check=True)
        part.rename(CORPUS)
    folder = tmp_path_factory.mktemp("corpus")
    [archive] = CORPUS.iterdir()
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    [tree] = folder.iterdir()
    return tree


@pytest.fixture(scope="module", params=["corpus", "checkout"])
def tree(request: pytest.FixtureRequest) -> Path:
    return ROOT if request.param == "checkout" else request.getfixturevalue("corpus")


@pytest.fixture(scope="module")
def indexes(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("indexes")
    assert build_index(tree, "real", folder).files > 200
    return folder


@pytest.fixture(scope="module")
def index(indexes: Path) -> Iterator[Index]:
    with open_index(index_path(indexes, "real")) as opened:
        yield opened


def test_the_definitions_are_those_that_python_sees(index: Index) -> None:
    kinds = {"class", "function", "method"}
    defined = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    seen = 0
    for path in index.paths():
        if not path.endswith(".py"):
            continue
        try:
            module = ast.parse(index.content(path))
        except SyntaxError:  # some tests are about that
            continue
        wanted = {(n.name, n.lineno) for n in ast.walk(module) if isinstance(n, defined)}
        assert {(s.name, s.line) for s in index.outline(path) if s.kind in kinds} == wanted, path
        seen += len(wanted)
    assert seen > 1000


@pytest.mark.parametrize(
    "pattern",
    ["def get_queryset", r"class \w+Error\b", r"^import (os|re)$", "TODO|FIXME", "return"],
)
def test_grep_finds_what_a_plain_scan_finds(tree: Path, index: Index, pattern: str) -> None:
    found = {
        (hit.path, hit.line) for hit in grep(index, compile_pattern(pattern, ignore_case=False))
    }
    expression = re.compile(pattern)
    wanted = {
        (path, number)
        for path in index.paths()
        for number, line in enumerate((tree / path).read_text().split("\n"), start=1)
        if expression.search(line)
    }
    assert found == wanted


DEFINED = {
    True: ("app/src/codeintel/directory.py IndexDirectory", "app/src/codeintel/app.py create_app"),
    False: (
        "django/db/models/query.py QuerySet",
        "django/contrib/auth/hashers.py make_password",
        "django/middleware/csrf.py CsrfViewMiddleware",
        "django/shortcuts.py get_object_or_404",
    ),
}


def test_a_name_leads_to_its_definition(tree: Path, indexes: Path) -> None:
    context = create_context(Settings(index_dir=indexes))
    for line in DEFINED[tree == ROOT]:
        path, name = line.split()
        first = search(context, name, by_words).results[0]
        assert first.title.startswith(f"{path}:"), first
