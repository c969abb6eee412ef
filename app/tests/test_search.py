import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from codeintel.context import ApplicationContext, create_context
from codeintel.directory import IndexDirectory
from codeintel.errors import CodeintelError
from codeintel.indexer import build_index
from codeintel.search import Results, by_meaning, by_words, fetch, search
from codeintel.settings import Settings

Build = Callable[..., object]

TREE = {
    "src/limiter.py": "class Limiter:\n    def count(self, client):\n        return client\n",
    "src/limiter.js": "function limiter(client) {\n  return client;\n}\n",
    "README.md": "# Limits\n\nA limiter counts what each client does.\n",
}


def paths(results: Results) -> list[str]:
    return [result.title.partition(":")[0] for result in results.results]


@pytest.fixture
def find(context: ApplicationContext) -> Callable[[str], Results]:
    return lambda query: search(context, query, by_words)


Find = Callable[[str], Results]


def test_results_have_the_shape_of_connectors(index: Build, find: Find) -> None:
    index(TREE, "main")
    found = find("Limiter").model_dump()
    assert list(found) == ["results"]
    assert len(found["results"]) >= 3
    for result in found["results"]:
        assert set(result) == {"id", "title", "url"}
        assert all(result.values())
    first = next(one for one in found["results"] if "limiter.py" in one["id"])
    assert first["title"].endswith("Limiter")
    assert first["url"].startswith("https://mcp.example.com/#main/src/limiter.py:")


def test_urls_come_from_the_template(index: Build, index_dir: Path) -> None:
    index(TREE, "main")
    settings = Settings(
        index_dir=index_dir, url_template="https://forge.example/{repository}/{path}#L{start}"
    )
    context = ApplicationContext("1", settings, IndexDirectory(settings.index_dir))
    [only] = search(context, "limiter lang:python kind:class", by_words).results
    assert only.url == "https://forge.example/main/src/limiter.py#L1"


def test_filters(index: Build, find: Find) -> None:
    index(TREE, "main")
    assert set(paths(find("limiter lang:js"))) == {"src/limiter.js"}
    assert set(paths(find("limiter path:src"))) == {"src/limiter.py", "src/limiter.js"}
    assert set(paths(find("limiter path:*.md"))) == {"README.md"}
    assert set(paths(find("limiter kind:function"))) == {"src/limiter.js"}
    assert set(paths(find("limiter kind:class kind:function"))) == set(
        paths(find("limiter path:src"))
    )
    assert find("limiter path:nowhere").results == []
    assert find("absolutelynothing").results == []


def test_filters_find_what_is_far_down_in_the_ranking(index: Build, find: Find) -> None:
    """More places answer better than are ranked."""
    many = {f"many/{number}.py": "def token(): token(token)\n" for number in range(400)}
    one = {"other/deep.go": f"// token {'word ' * 200}\nfunc Run() {{}}\n"}
    index(many | one, "main")
    assert "other/deep.go" not in paths(find("token"))
    for narrow in ("path:other", "lang:go", "kind:function path:*.go", "lang:go lang:rust"):
        assert set(paths(find(f"token {narrow}"))) == {"other/deep.go"}, narrow


def test_an_unknown_language_or_repository_says_what_there_is(index: Build, find: Find) -> None:
    index(TREE, "main")
    with pytest.raises(CodeintelError, match=r"no cobol here; lang: is one of: javascript, mark"):
        find("limiter lang:cobol")
    with pytest.raises(CodeintelError, match=r"no struct here; kind: is one of: class, function"):
        find("limiter kind:struct")
    with pytest.raises(CodeintelError, match=r"unknown repository 'other'; one of: main"):
        find("limiter repo:other")


def test_a_language_that_one_repository_lacks_is_found_in_another(index: Build, find: Find) -> None:
    index(TREE, "main")
    for name in ("before", "other"):
        index({f"{name}.go": "func limiter() {}\n"}, name)
    assert set(paths(find("limiter lang:go"))) == {"before.go", "other.go"}
    assert set(paths(find("limiter lang:python"))) == {"src/limiter.py"}


def test_no_index_at_all(find: Find) -> None:
    with pytest.raises(CodeintelError, match="no index yet"):
        find("limiter")


def test_all_repositories_are_searched_unless_one_is_named(index: Build, find: Find) -> None:
    index(TREE, "one")
    index({"other.py": "def limiter(): pass\n"}, "two")
    repositories = {result.id.partition("/")[0] for result in find("limiter").results}
    assert repositories == {"one", "two"}
    assert {result.id.partition("/")[0] for result in find("limiter repo:two").results} == {"two"}


def test_a_result_is_fetched_by_its_id(
    index: Build, find: Find, context: ApplicationContext
) -> None:
    index(TREE, "main")
    [only] = find("limiter kind:function").results
    document = fetch(context, only.id)
    assert (document.id, document.url) == (only.id, only.url)
    assert document.text == TREE["src/limiter.js"]
    assert document.metadata == {
        "repository": "main",
        "commit": "unknown",
        "language": "javascript",
        "total_lines": "3",
    }


def test_a_long_place_is_fetched_in_whole_lines(index: Build, context: ApplicationContext) -> None:
    text = "".join(f'{number} "é"\t\n' for number in range(4000))
    index({"long.txt": text}, "main")
    fetched, following = "", "main/long.txt"
    while following:
        document = fetch(context, following)
        assert len(document.model_dump_json()) <= 24_000
        fetched += document.text
        following = document.metadata.get("next", "")
    assert fetched == text


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("nonsense", "is not an id"),
        ("main/../etc/passwd", "is not in the index of main"),
        ("main//etc/passwd", "is not in the index of main"),
        ("other/a", "unknown repository 'other'"),
        ("main/README.md#L40-L50", "the file has 3"),
        ("main/README.md#L3-L2", "the file has 3"),
        ("main/wide", "use grep"),
    ],
)
def test_what_cannot_be_fetched(
    index: Build, context: ApplicationContext, wanted: str, message: str
) -> None:
    index(TREE | {"wide": "x" * 30_000}, "main")
    with pytest.raises(CodeintelError, match=message) as error:
        fetch(context, wanted)
    assert "\n" not in str(error.value)


def test_meaning_needs_vectors(index: Build, context: ApplicationContext) -> None:
    index(TREE, "main")
    with pytest.raises(CodeintelError, match="no repository here has vectors of the model in use"):
        search(context, "limiter", by_meaning)


def test_a_place_below_the_top_of_a_work_tree_is_linked_from_there(
    write_tree: Callable[..., Path], index_dir: Path
) -> None:
    root = write_tree({f"app/{path}": text for path, text in TREE.items()})
    subprocess.run(["git", "init", "--quiet", root], check=True)
    build_index(root / "app", "main", index_dir)
    template = "https://forge.example/{repository}/{path}#L{start}"
    context = create_context(Settings(index_dir=index_dir, url_template=template))
    [only] = search(context, "limiter lang:python kind:class", by_words).results
    assert only.url == "https://forge.example/main/app/src/limiter.py#L1"
    assert fetch(context, only.id).url == only.url
