import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from codeintel.budget import MAX_ANSWER
from codeintel.context import ApplicationContext
from codeintel.metrics import Metrics
from codeintel.server import build_server
from codeintel.store import index_path
from fastmcp import Client
from fastmcp.exceptions import ToolError

pytestmark = pytest.mark.anyio

Index = Callable[..., object]
Mcp = Client[Any]

TEXT = ["search", "fetch", "grep", "read", "files"]
"""The tools that any index gives."""


@pytest.fixture
async def client(context: ApplicationContext) -> AsyncIterator[Mcp]:
    async with Client[Any](build_server(context, Metrics())) as connected:
        yield connected


async def call(client: Mcp, tool: str, **arguments: object) -> dict[str, Any]:
    """Call a tool and check what holds for every answer."""
    result = await client.call_tool(tool, arguments)
    structured: dict[str, Any] = result.structured_content or {}
    [block] = result.content
    text: str = block.text  # type: ignore[union-attr]  # the only kind that tools return
    assert json.loads(text) == structured
    assert len(text) <= MAX_ANSWER
    return structured


async def refusal(client: Mcp, tool: str, **arguments: object) -> str:
    with pytest.raises(ToolError) as error:
        await client.call_tool(tool, arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


async def test_only_status_is_there_without_an_index(client: Mcp, index: Index) -> None:
    assert [tool.name for tool in await client.list_tools()] == ["status"]
    assert "Unknown tool" in await refusal(client, "files")
    status = await call(client, "status")
    assert status["repositories"] == []
    assert "codeintel index" in status["hint"]
    index({"a.py": "1"}, "main")
    assert [tool.name for tool in await client.list_tools()] == [*TEXT, "status"]
    index({"a.py": "def f(): pass\n"}, "main")
    listed = [tool.name for tool in await client.list_tools()]
    assert listed == [*TEXT[:4], "outline", "files", "symbols", "references", "status"]
    assert (await call(client, "files"))["paths"] == ["a.py"]


async def test_tools_vanish_with_the_index(
    client: Mcp, index: Index, context: ApplicationContext
) -> None:
    index({"a.py": "1"}, "main")
    assert len(await client.list_tools()) == len(TEXT) + 1
    index_path(context.settings.index_dir, "main").unlink()
    assert len(await client.list_tools()) == 1
    assert "Unknown tool" in await refusal(client, "read", path="a.py")


async def test_tools_are_titled_annotated_and_short(context: ApplicationContext) -> None:
    server = build_server(context, Metrics())
    # Every tool there is, whether it works here or not.
    server._transforms[:] = []
    async with Client[Any](server) as client:
        tools = await client.list_tools()
    assert len(tools) == 10
    for tool in tools:
        assert tool.title
        assert tool.description
        assert tool.annotations is not None
        assert tool.annotations.model_dump(exclude_none=True) == {
            "read_only_hint": True,
            "destructive_hint": False,
            "idempotent_hint": True,
            "open_world_hint": False,
        }
        assert "null" not in json.dumps(tool.input_schema)
    wire = json.dumps([tool.model_dump(exclude_none=True, mode="json") for tool in tools])
    assert len(wire) < 6000
    assert "codeintel" not in wire  # no gating marks of ours


async def test_server_identity(client: Mcp) -> None:
    assert client.server_info is not None
    assert (client.server_info.name, client.server_info.version) == ("codeintel", "1.2.3")
    assert "cursor" in (client.instructions or "")


async def test_files_by_glob(client: Mcp, index: Index) -> None:
    index({"a.py": "", "src/b.py": "", "src/c.md": ""}, "main")
    assert (await call(client, "files", glob="*.py"))["paths"] == ["a.py", "src/b.py"]
    assert (await call(client, "files", glob="src/*"))["total"] == 2
    assert (await call(client, "files", glob="nope"))["paths"] == []


async def test_many_files_are_also_counted_by_directory(client: Mcp, index: Index) -> None:
    some = {f"lib/a/{number}.py": "" for number in range(90)}
    index(some | {f"lib/b/c/{number}.py": "" for number in range(30)} | {"lib/x": ""}, "main")
    first = await call(client, "files")
    assert first["directories"] == {"lib/a": 90, "lib/b": 30, "lib": 1}
    assert len(first["paths"]) == 100
    assert "directories" not in await call(client, "files", cursor=first["cursor"])
    assert "directories" not in await call(client, "files", glob="lib/a/*")


async def test_long_paths_and_their_directories_share_the_budget(client: Mcp, index: Index) -> None:
    index({f"{'d' * 140}{n:03}/{'f' * 200}.java": "" for n in range(140)}, "main")
    answer = await client.call_tool("files", {"glob": "**/*.java"})
    assert len(json.dumps(answer.structured_content)) <= MAX_ANSWER


async def test_files_page_through_everything(client: Mcp, index: Index) -> None:
    names = [f"directory-{number % 7}/{'x' * 90}-{number:04}.py" for number in range(600)]
    index(dict.fromkeys(names, ""), "main")
    seen: list[str] = []
    cursor = None
    pages = 0
    while True:
        page = await call(client, "files", cursor=cursor)
        seen += page["paths"]
        pages += 1
        cursor = page.get("cursor")
        if cursor is None:
            break
    assert seen == sorted(names)
    assert pages > 1


async def test_read_whole_and_range(client: Mcp, index: Index) -> None:
    index({"a.py": "1\n2\r\n3", "empty": ""}, "main")
    whole = await call(client, "read", path="./a.py")
    assert (whole["text"], whole["start_line"], whole["end_line"]) == ("1\n2\r\n3", 1, 3)
    part = await call(client, "read", path="a.py", start_line=2, end_line=2)
    assert (part["text"], part["total_lines"], part.get("hint")) == ("2\r\n", 3, None)
    assert (await call(client, "read", path="a.py", start_line=3, end_line=99))["text"] == "3"
    assert (await call(client, "read", path="empty"))["text"] == ""
    assert "the file has 3" in await refusal(client, "read", path="a.py", start_line=4)
    assert "not be after" in await refusal(client, "read", path="a.py", start_line=3, end_line=2)


async def test_a_long_file_is_read_in_whole_lines(client: Mcp, index: Index) -> None:
    text = "".join(f'{number} "quoted" é\\\t\n' for number in range(5000))
    index({"a.py": text}, "main")
    read, line = "", 1
    while True:
        part = await call(client, "read", path="a.py", start_line=line)
        read += part["text"]
        line = part["end_line"] + 1
        if "hint" not in part:
            break
        assert f"start_line={line}" in part["hint"]
    assert read == text


async def test_read_is_short_unless_asked(client: Mcp, index: Index) -> None:
    index({"a": "x\n" * 1000}, "main")
    part = await call(client, "read", path="a")
    assert (part["end_line"], part["total_lines"]) == (250, 1000)
    assert "start_line=251" in part["hint"]
    assert (await call(client, "read", path="a", end_line=1000))["end_line"] == 1000


async def test_read_around_a_line_is_its_definition(client: Mcp, index: Index) -> None:
    index({"a.py": "import os\n\ndef f():\n    one = 1\n    return one\n\nx = 1\n"}, "main")
    part = await call(client, "read", path="a.py", around=4)
    assert part["text"] == "def f():\n    one = 1\n    return one\n"
    assert (part["start_line"], part["end_line"]) == (3, 5)
    assert "hint" not in part
    assert "the file has 7" in await refusal(client, "read", path="a.py", around=99)


async def test_a_line_that_no_answer_holds(client: Mcp, index: Index) -> None:
    index({"a.js": "short\n" + "x" * 30_000}, "main")
    part = await call(client, "read", path="a.js")
    assert part["text"] == "short\n"
    assert "use grep" in await refusal(client, "read", path="a.js", start_line=2)


async def test_a_path_that_is_not_indexed(client: Mcp, index: Index) -> None:
    index({"src/a.py": "1", ".env": "KEY=1", "a.bin": b"\0"}, "main")
    assert "was left out of the index of main: secret" in await refusal(client, "read", path=".env")
    assert "main: binary" in await refusal(client, "read", path="./a.bin")
    for path in ("/etc/passwd", "../src/a.py", "src", "x\ny", "src/a.py/"):
        assert "is not in the index of main" in await refusal(client, "read", path=path)
    assert "did you mean src/a.py" in await refusal(client, "read", path="lib/a.py")


async def test_grep(client: Mcp, index: Index) -> None:
    index({"a.py": "import os\nx = 1\n", "b.md": "Import\n"}, "main")
    found = await call(client, "grep", pattern="import")
    assert found["files"] == [{"path": "a.py", "lines": ["1: import os"]}]
    found = await call(client, "grep", pattern="import", ignore_case=True, path="*.md")
    assert found["files"] == [{"path": "b.md", "lines": ["1: Import"]}]
    assert (await call(client, "grep", pattern="absent"))["files"] == []
    assert "invalid pattern" in await refusal(client, "grep", pattern="(")
    assert "invalid glob" in await refusal(client, "grep", pattern="x", path="[z-a]")


async def test_hostile_patterns(client: Mcp, index: Index) -> None:
    index({"a.txt": "a" * 200_000 + "!\n"}, "main")
    started = time.monotonic()
    for pattern in ("(a+)+$", "(a|a)*b", "(.*)*x", "^(a?){50}a{50}$", "\\C" * 300):
        assert "files" in await call(client, "grep", pattern=pattern)
    assert time.monotonic() - started < 20
    for pattern in ("a{1000}{1000}", "(" * 500, "\\", "(?<=a)b", "a**"):
        assert "invalid pattern: " in await refusal(client, "grep", pattern=pattern)
    assert "pattern: " in await refusal(client, "grep", pattern="\ud800")


async def test_grep_pages_through_everything(client: Mcp, index: Index) -> None:
    index({"a.py": "x\n" * 7, "b.py": "y\nx\n"}, "main")
    lines: list[str] = []
    cursor = None
    for expected in (3, 3, 2):
        page = await call(client, "grep", pattern="x", limit=3, cursor=cursor)
        hits = [f"{file['path']}:{line}" for file in page["files"] for line in file["lines"]]
        assert len(hits) == expected
        lines += hits
        cursor = page.get("cursor")
    assert cursor is None
    assert lines == [*(f"a.py:{n}: x" for n in range(1, 8)), "b.py:2: x"]


async def test_too_many_long_lines_become_counts(client: Mcp, index: Index) -> None:
    index({f"{number}.py": f"{'x' * 200}\n" * (number + 1) for number in range(30)}, "main")
    found = await call(client, "grep", pattern="x", limit=500)
    assert found["files"] == []
    assert len(found["counts"]) == 30
    assert next(iter(found["counts"].items())) == ("29.py", 30)
    assert "465 lines" in found["hint"]
    assert "narrow" in found["hint"]


async def test_too_many_files_even_for_counts(client: Mcp, index: Index) -> None:
    index({f"{'d' * 100}/{number}.py": "x" * 200 for number in range(400)}, "main")
    found = await call(client, "grep", pattern="x", limit=500)
    shown = len(found["counts"])
    assert 0 < shown < 400
    assert f"and {400 - shown} more files" in found["hint"]


@pytest.mark.parametrize("tool", ["files", "grep", "symbols", "references"])
async def test_cursors(client: Mcp, index: Index, tool: str) -> None:
    files = {f"{number:03}.py": "def x(): pass\n" for number in range(150)}
    index(files, "main")
    query = {"pattern": "x", "limit": 1} if tool == "grep" else {}
    query |= {"name": "x"} if tool in {"symbols", "references"} else {}
    cursor = (await call(client, tool, **query))["cursor"]
    assert "not a cursor" in await refusal(client, tool, cursor="nonsense", **query)
    other = {"glob": "*"} if tool == "files" else {"path": "*"}
    assert "another query" in await refusal(client, tool, cursor=cursor, **query, **other)
    index(files | {"new": ""}, "main")
    assert "stale cursor" in await refusal(client, tool, cursor=cursor, **query)


PYTHON = {
    "src/a.py": """class Limiter:
    def count(self, client):
        return client

def helper():
    return Limiter().count("x")
""",
    "src/b.py": "from a import Limiter\n\ndef count(things):\n    return len(things)\n",
    "notes.md": "The Limiter counts.\n",
}


async def test_outline(client: Mcp, index: Index) -> None:
    index(PYTHON, "main")
    outline = await call(client, "outline", path="src/a.py")
    assert outline["language"] == "python"
    assert outline["definitions"] == [
        "1-3 class Limiter:",
        "  2-3 def count(self, client):",
        "5-6 def helper():",
    ]
    assert "no definitions" in (await call(client, "outline", path="notes.md"))["hint"]
    assert "not in the index" in await refusal(client, "outline", path="nope.py")


async def test_symbols_by_name(client: Mcp, index: Index) -> None:
    index(PYTHON, "main")
    both = await call(client, "symbols", name="count")
    assert (both["exact"], both["total"]) == (True, 2)
    [method] = (await call(client, "symbols", name="Limiter.count()"))["symbols"]
    assert method == "src/a.py:2-3 method Limiter.count: def count(self, client):"
    [function] = (await call(client, "symbols", name="count", kind="function"))["symbols"]
    assert function.startswith("src/b.py:3-4 function count")
    assert (await call(client, "symbols", name="count", path="src/b.py"))["total"] == 1
    similar = await call(client, "symbols", name="Limit")
    assert similar["exact"] is False
    assert similar["symbols"] == ["src/a.py:1-3 class Limiter: class Limiter:"]
    assert "search" in (await call(client, "symbols", name="absent"))["hint"]
    other = await call(client, "symbols", name="count", kind="class")
    assert (other["total"], other["exact"]) == (0, True)
    assert "of another kind or path" in other["hint"]
    assert (await call(client, "symbols", name="count", kind="Function"))["total"] == 1


async def test_symbols_knows_all_of_a_name(client: Mcp, index: Index) -> None:
    """However many there are before those that are wanted."""
    many = {f"a/{n}.py": "def same(): pass\n" * 10 for n in range(60)}
    index(many | {"z.py": "class same: pass\ndef same_too(): pass\n"}, "main")
    assert (await call(client, "symbols", name="same"))["total"] == 601
    for narrow in ({"kind": "class"}, {"path": "z.py"}):
        [found] = (await call(client, "symbols", name="same", **narrow))["symbols"]
        assert found.startswith("z.py:1-1 class same")
    similar = await call(client, "symbols", name="sam")
    assert similar["total"] == 500
    assert "give more of the name" in similar["hint"]
    assert (await call(client, "symbols", name="sam", path="z.py"))["total"] == 2


async def test_symbols_page(client: Mcp, index: Index) -> None:
    index({f"{number:02}.py": "def same(): pass\n" for number in range(60)}, "main")
    seen: list[str] = []
    cursor = None
    while cursor or not seen:
        page = await call(client, "symbols", name="same", cursor=cursor)
        seen += page["symbols"]
        cursor = page.get("cursor")
    assert [line[:5] for line in seen] == [f"{number:02}.py" for number in range(60)]


async def test_references_say_what_they_rest_on(client: Mcp, index: Index) -> None:
    index(PYTHON, "main")
    found = await call(client, "references", name="Limiter")
    assert (found["source"], found["total"]) == ("text", 4)
    assert found["references"][0] == "src/a.py:1 definition: class Limiter:"
    assert 'src/a.py:6 call: return Limiter().count("x")' in found["references"]
    assert "src/b.py:1 import: from a import Limiter" in found["references"]
    assert "notes.md:1 reference: The Limiter counts." in found["references"]
    assert (await call(client, "references", name="Limiter", path="*.md"))["total"] == 1
    assert "symbols" in (await call(client, "references", name="absent"))["hint"]


async def test_too_many_references_are_counted(client: Mcp, index: Index) -> None:
    index({"a.py": "def f(): pass\n" + "f()\n" * 150, "b.py": "f()\n" * 100}, "main")
    found = await call(client, "references", name="f")
    assert (found["references"], found["total"]) == ([], 251)
    assert found["counts"] == {"a.py": 151, "b.py": 100}
    assert "narrow with path" in found["hint"]
    part = await call(client, "references", name="f", path="b.py")
    assert len(part["references"]) == 40
    rest = await call(client, "references", name="f", path="b.py", cursor=part["cursor"])
    assert rest["references"][0] == "b.py:41 call: f()"


async def test_an_index_without_symbols_beside_one_with(client: Mcp, index: Index) -> None:
    index(PYTHON, "main")
    index({"notes.md": "text"}, "notes")
    for tool in ("symbols", "references"):
        refused = await refusal(client, tool, name="x", repository="notes")
        assert refused == f"notes has no {tool}; use grep, status lists what it has"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "pattern: missing required argument; see the schema of grep"),
        ({"pattern": "x", "limit": 0}, "limit: input should be greater than or equal to 1"),
        ({"pattern": ""}, "pattern: string should have at least 1 character"),
        ({"pattern": "x", "depth": 1}, "depth: unexpected keyword argument"),
    ],
)
async def test_wrong_arguments_are_named(
    client: Mcp, index: Index, arguments: dict[str, Any], message: str
) -> None:
    index({"a.py": "1"}, "main")
    assert message in await refusal(client, "grep", **arguments)


async def test_several_repositories(client: Mcp, index: Index) -> None:
    index({"a.py": "1"}, "one")
    index({"b.py": "1"}, "two")
    assert "one of: one, two" in await refusal(client, "files")
    assert "one of: one, two" in await refusal(client, "files", repository="three")
    assert (await call(client, "files", repository="two"))["paths"] == ["b.py"]
    found = await call(client, "grep", pattern="1", repository="one")
    assert found["files"][0]["path"] == "a.py"
    assert (await call(client, "read", path="b.py", repository="two"))["text"] == "1"


async def test_status(client: Mcp, index: Index, context: ApplicationContext) -> None:
    index({"a.py": "1", ".env": "", "b": b"\0"}, "main")
    index_path(context.settings.index_dir, "old").write_bytes(b"")
    status = await call(client, "status")
    [repository] = status["repositories"]
    assert repository.pop("indexed_at").endswith("+00:00")
    assert 0 <= repository.pop("age_seconds") < 60
    assert repository == {
        "repository": "main",
        "commit": None,
        "remote": None,
        "files": 1,
        "symbols": 0,
        "languages": {"python": 1},
        "capabilities": ["text"],
        "skipped": {"binary": 1, "secret": 1},
    }
    assert "--name old" in status["unusable"]["old"]
    assert status["version"] == "1.2.3"


async def test_unexpected_errors_are_masked(
    client: Mcp, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    index({"a.py": "1"}, "main")

    def fail(_self: object, _repository: str | None) -> None:
        raise RuntimeError("/private/path")

    monkeypatch.setattr("codeintel.directory.IndexDirectory.open", fail)
    assert await refusal(client, "files") == "Error calling tool 'files'"
