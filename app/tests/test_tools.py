import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from codeintel.context import ApplicationContext
from codeintel.metrics import Metrics
from codeintel.server import build_server
from codeintel.store import index_path
from codeintel.tools import MAX_ANSWER
from fastmcp import Client
from fastmcp.exceptions import ToolError

pytestmark = pytest.mark.anyio

Index = Callable[..., object]
Mcp = Client[Any]


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
    assert [tool.name for tool in await client.list_tools()] == ["files", "read", "grep", "status"]
    assert (await call(client, "files"))["paths"] == ["a.py"]


async def test_tools_vanish_with_the_index(
    client: Mcp, index: Index, context: ApplicationContext
) -> None:
    index({"a.py": "1"}, "main")
    assert len(await client.list_tools()) == 4
    index_path(context.settings.index_dir, "main").unlink()
    assert len(await client.list_tools()) == 1
    assert "Unknown tool" in await refusal(client, "read", path="a.py")


async def test_tools_are_titled_annotated_and_short(client: Mcp, index: Index) -> None:
    index({"a.py": "1"}, "main")
    tools = await client.list_tools()
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
    wire = json.dumps([tool.model_dump(exclude_none=True, mode="json") for tool in tools])
    assert len(wire) < 6000
    assert "codeintel" not in wire.replace("codeintel index", "")  # no gating marks of ours


async def test_server_identity(client: Mcp) -> None:
    assert client.server_info is not None
    assert (client.server_info.name, client.server_info.version) == ("codeintel", "1.2.3")
    assert "cursor" in (client.instructions or "")


async def test_files_by_glob(client: Mcp, index: Index) -> None:
    index({"a.py": "", "src/b.py": "", "src/c.md": ""}, "main")
    assert (await call(client, "files", glob="*.py"))["paths"] == ["a.py", "src/b.py"]
    assert (await call(client, "files", glob="src/*"))["total"] == 2
    assert (await call(client, "files", glob="nope"))["paths"] == []


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
        cursor = page["cursor"]
        if cursor is None:
            break
    assert seen == sorted(names)
    assert pages > 1


async def test_read_whole_and_range(client: Mcp, index: Index) -> None:
    index({"a.py": "1\n2\r\n3", "empty": ""}, "main")
    whole = await call(client, "read", path="./a.py")
    assert (whole["text"], whole["start_line"], whole["end_line"]) == ("1\n2\r\n3", 1, 3)
    part = await call(client, "read", path="a.py", start_line=2, end_line=2)
    assert (part["text"], part["total_lines"], part["hint"]) == ("2\r\n", 3, None)
    assert (await call(client, "read", path="a.py", start_line=3, end_line=99))["text"] == "3"
    assert (await call(client, "read", path="empty"))["text"] == ""
    assert "the file has 3" in await refusal(client, "read", path="a.py", start_line=4)
    assert "start_line" in await refusal(client, "read", path="a.py", start_line=3, end_line=2)


async def test_a_long_file_is_read_in_whole_lines(client: Mcp, index: Index) -> None:
    text = "".join(f'{number} "quoted" é\\\t\n' for number in range(5000))
    index({"a.py": text}, "main")
    read, line = "", 1
    while True:
        part = await call(client, "read", path="a.py", start_line=line)
        read += part["text"]
        line = part["end_line"] + 1
        if part["hint"] is None:
            break
        assert f"start_line={line}" in part["hint"]
    assert read == text


async def test_a_line_that_no_answer_holds(client: Mcp, index: Index) -> None:
    index({"a.js": "short\n" + "x" * 30_000}, "main")
    part = await call(client, "read", path="a.js")
    assert part["text"] == "short\n"
    assert "use grep" in await refusal(client, "read", path="a.js", start_line=2)


async def test_a_path_that_is_not_indexed(client: Mcp, index: Index) -> None:
    index({"src/a.py": "1"}, "main")
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


async def test_grep_pages_through_everything(client: Mcp, index: Index) -> None:
    index({"a.py": "x\n" * 7, "b.py": "y\nx\n"}, "main")
    lines: list[str] = []
    cursor = None
    for expected in (3, 3, 2):
        page = await call(client, "grep", pattern="x", limit=3, cursor=cursor)
        hits = [f"{file['path']}:{line}" for file in page["files"] for line in file["lines"]]
        assert len(hits) == expected
        lines += hits
        cursor = page["cursor"]
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


@pytest.mark.parametrize("tool", ["files", "grep"])
async def test_cursors(client: Mcp, index: Index, tool: str) -> None:
    files = {f"{'x' * 200}-{number:03}": "x\n" for number in range(150)}
    index(files, "main")
    query = {"pattern": "x", "limit": 1} if tool == "grep" else {}
    cursor = (await call(client, tool, **query))["cursor"]
    assert "not a cursor" in await refusal(client, tool, cursor="nonsense", **query)
    other = {"path": "*"} if tool == "grep" else {"glob": "*"}
    assert "another query" in await refusal(client, tool, cursor=cursor, **query, **other)
    index(files | {"new": ""}, "main")
    assert "stale cursor" in await refusal(client, tool, cursor=cursor, **query)


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
    (context.settings.index_dir / "old.sqlite").write_bytes(b"")
    status = await call(client, "status")
    [repository] = status["repositories"]
    assert repository.pop("indexed_at").endswith("+00:00")
    assert repository == {
        "repository": "main",
        "commit": None,
        "files": 1,
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

    monkeypatch.setattr("codeintel.store.IndexDirectory.open", fail)
    assert await refusal(client, "files") == "Error calling tool 'files'"
