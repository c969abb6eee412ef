"""The tools: what an agent can ask, answered from the index files only.

An answer is at most `MAX_ANSWER` characters of JSON. A longer one is never cut: it becomes a
page with a cursor, or counts per file.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Annotated, Any

from pydantic import BaseModel, Field
from pydantic_core import to_json

from codeintel.context import ApplicationContext
from codeintel.cursor import decode_cursor, encode_cursor
from codeintel.errors import CodeintelError
from codeintel.globs import compile_glob
from codeintel.grep import compile_pattern, grep
from codeintel.store import Index

MAX_ANSWER = 24_000
"""Characters of one answer; clients warn or spill to a file beyond about this."""

_ENVELOPE = 1_000  # characters kept for the other members of an answer

Repository = Annotated[
    str | None, Field(description="Needed only when there are several", max_length=64)
]
Glob = Annotated[
    str | None, Field(description="Glob: *.py (any depth), src/**/*.ts", max_length=200)
]
Cursor = Annotated[str | None, Field(description="From the previous page", max_length=4000)]
Line = Annotated[int, Field(ge=1, le=10_000_000)]


class Files(BaseModel):
    """A page of paths."""

    repository: str
    total: int
    paths: list[str]
    cursor: str | None = None


class Text(BaseModel):
    """Whole lines of one file; `end_line` is inclusive."""

    repository: str
    path: str
    start_line: int
    end_line: int
    total_lines: int
    text: str
    hint: str | None = None


class FileMatches(BaseModel):
    """Matching lines of one file, each as ``number: text``."""

    path: str
    lines: list[str]


class Matches(BaseModel):
    """A page of matching lines, or counts of them per file when the lines would be too long."""

    repository: str
    files: list[FileMatches]
    counts: dict[str, int] | None = None
    hint: str | None = None
    cursor: str | None = None


class RepositoryStatus(BaseModel):
    """State of one index; `skipped` counts the files left out by reason."""

    repository: str
    commit: str | None
    indexed_at: str
    files: int
    skipped: dict[str, int]


class Status(BaseModel):
    """All indexes, and the reason for each one that does not open."""

    version: str
    repositories: list[RepositoryStatus]
    unusable: dict[str, str]
    hint: str | None


class Tools:
    """The tool functions over one application context."""

    def __init__(self, context: ApplicationContext) -> None:
        """Answer from the indexes of `context`."""
        self._context = context

    def files(
        self, glob: Glob = None, repository: Repository = None, cursor: Cursor = None
    ) -> Files:
        """List indexed paths."""
        with self._context.indexes.open(repository) as index:
            info = index.info
            query = ["files", info.repository, glob]
            after, _ = decode_cursor(cursor, query, info.generation)
            paths = _select(index, glob)
            rest = [path for path in paths if path > after]
            page = list(_fit(rest))
            more = len(page) < len(rest)
            return Files(
                repository=info.repository,
                total=len(paths),
                paths=page,
                cursor=encode_cursor(query, info.generation, page[-1]) if more else None,
            )

    def read(
        self,
        path: Annotated[str, Field(max_length=1000)],
        start_line: Line = 1,
        end_line: Line | None = None,
        repository: Repository = None,
    ) -> Text:
        """Read a file, or the lines from start_line to end_line (inclusive)."""
        with self._context.indexes.open(repository) as index:
            file = index.file(path.removeprefix("./"))
            if file is None:
                raise CodeintelError(_not_indexed(index, path))
            last = min(end_line or file.lines, file.lines)
            if start_line > max(last, 1):
                raise CodeintelError(
                    f"no such lines; the file has {file.lines} and start_line must not"
                    " be after end_line"
                )
            wanted = _lines(file.text)[start_line - 1 : last]
            shown = list(_fit(wanted))
            if wanted and not shown:
                raise CodeintelError(
                    f"line {start_line} alone exceeds {MAX_ANSWER} characters; use grep for it"
                )
            end = start_line + len(shown) - 1
            rest = f"answer is full; continue with start_line={end + 1}"
            return Text(
                repository=index.info.repository,
                path=file.path,
                start_line=start_line,
                end_line=end,
                total_lines=file.lines,
                text="".join(shown),
                hint=rest if len(shown) < len(wanted) else None,
            )

    def grep(  # noqa: PLR0913 (arguments of a tool call have names)
        self,
        pattern: Annotated[
            str, Field(description="RE2, within one line", min_length=1, max_length=1000)
        ],
        *,
        path: Glob = None,
        ignore_case: bool = False,
        limit: Annotated[int, Field(ge=1, le=500, description="Lines a page")] = 50,
        repository: Repository = None,
        cursor: Cursor = None,
    ) -> Matches:
        """Find lines that match a regular expression."""
        compiled = compile_pattern(pattern, ignore_case=ignore_case)
        with self._context.indexes.open(repository) as index:
            info = index.info
            query = ["grep", info.repository, pattern, path, ignore_case]
            after = decode_cursor(cursor, query, info.generation)
            paths = _select(index, path)
            hits = grep(index, compiled, paths, after)
            page = list(islice(hits, limit))
            files: list[FileMatches] = []
            for hit in page:
                if not files or files[-1].path != hit.path:
                    files.append(FileMatches(path=hit.path, lines=[]))
                files[-1].lines.append(f"{hit.line}: {hit.text}")
            if _size([file.model_dump() for file in files]) > MAX_ANSWER - _ENVELOPE:
                counts = Counter(hit.path for hit in grep(index, compiled, paths, after))
                return _as_counts(info.repository, counts)
            more = next(hits, None) is not None
            return Matches(
                repository=info.repository,
                files=files,
                cursor=encode_cursor(query, info.generation, page[-1].path, page[-1].line)
                if more
                else None,
            )

    def status(self) -> Status:
        """Show what is indexed, how fresh it is, and what was left out."""
        indexes = self._context.indexes.scan()
        return Status(
            version=self._context.version,
            repositories=[
                RepositoryStatus(
                    repository=name,
                    commit=info.commit,
                    indexed_at=info.indexed_at,
                    files=info.files,
                    skipped=dict(info.skipped),
                )
                for name, info in indexes.ready.items()
            ],
            unusable=dict(indexes.broken),
            hint=indexes.reason,
        )

    def table(self) -> list[tuple[Callable[..., Any], str, str | None]]:
        """Return (function, title, needed capability) of every tool."""
        return [
            (self.files, "List files", "text"),
            (self.read, "Read a file", "text"),
            (self.grep, "Search by regular expression", "text"),
            (self.status, "Index status", None),
        ]


def _select(index: Index, glob: str | None) -> list[str]:
    paths = index.paths()
    if glob is None:
        return paths
    matches = compile_glob(glob)
    return [path for path in paths if matches(path)]


def _lines(text: str) -> list[str]:
    """Split at line feeds only: str.splitlines() knows more line ends than editors do."""
    lines = text.split("\n")
    return [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])


def _fit(parts: list[str]) -> Iterator[str]:
    """Yield as many of `parts` as one answer holds."""
    left = MAX_ANSWER - _ENVELOPE
    for part in parts:
        left -= _size(part) + 1
        if left < 0:
            return
        yield part


def _size(value: object) -> int:
    """Return the length in characters of `value` in the JSON that clients get."""
    return len(to_json(value).decode())


def _as_counts(repository: str, counts: Counter[str]) -> Matches:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    left = MAX_ANSWER - _ENVELOPE
    shown: dict[str, int] = {}
    for path, count in ranked:
        left -= _size({path: count})
        if left < 0:
            break
        shown[path] = count
    hidden = f" and {len(ranked) - len(shown)} more files" if len(shown) < len(ranked) else ""
    return Matches(
        repository=repository,
        files=[],
        counts=shown,
        hint=f"too long to show: {counts.total()} lines in these{hidden};"
        " narrow pattern or path, or lower limit",
    )


def _not_indexed(index: Index, path: str) -> str:
    name = path.rpartition("/")[2]
    similar = [known for known in index.paths() if known.rpartition("/")[2] == name][:3]
    advice = f"did you mean {', '.join(similar)}" if similar else "see the tool files"
    return f"{path[:120]!r} is not in the index of {index.info.repository}; {advice}"
