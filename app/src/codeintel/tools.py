"""The tools: what an agent can ask, answered from the index files only.

An answer is at most `MAX_ANSWER` characters of JSON. A longer one is never cut: it becomes a
page with a cursor, or counts per file. Most are far shorter, because an agent pays for them.
"""

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Annotated, Any

from pydantic import BaseModel, Field

from codeintel.budget import ENVELOPE, MAX_ANSWER, Answer, fit, most, page, size
from codeintel.context import ApplicationContext, age_seconds
from codeintel.cursor import decode_cursor, encode_cursor
from codeintel.definitions import describe, dotted, find_symbols, last_part, outline_lines
from codeintel.errors import CodeintelError
from codeintel.globs import compile_glob
from codeintel.grep import MAX_LINE, compile_pattern, grep
from codeintel.reading import open_file, read_lines, split_lines
from codeintel.search import Document, Results, by_meaning, by_words, fetch, search
from codeintel.store import MAX_SIMILAR, Index, Reference

PATHS = 100
"""Paths on a page of `files`."""

SYMBOLS = 25
REFERENCES = 40
"""Lines on a page; more than five pages of references are counted instead."""

WHOLE_FILE = 250
"""Lines that `read` shows unless it is asked for more."""

Repository = Annotated[str | None, Field(description="Needed if there are several", max_length=64)]
Glob = Annotated[str | None, Field(description="Glob: *.py, src/**/*.ts", max_length=200)]
Cursor = Annotated[str | None, Field(description="From the previous page", max_length=4000)]
Line = Annotated[int, Field(ge=1, le=10_000_000)]
Path = Annotated[str, Field(max_length=1000)]
Name = Annotated[str, Field(description="foo or Class.foo", min_length=1, max_length=200)]
Words = Annotated[
    str,
    Field(
        description="Words or names; filters path:src/api lang:python repo:NAME kind:class",
        max_length=1000,
    ),
]


class Files(Answer):
    """A page of paths; `directories` counts them by directory when there are several pages."""

    repository: str
    total: int
    directories: dict[str, int] | None = None
    paths: list[str]
    cursor: str | None = None


class Text(Answer):
    """Whole lines of one file; `end_line` is inclusive."""

    repository: str
    path: str
    start_line: int
    end_line: int
    total_lines: int
    text: str
    hint: str | None = None


class FileLines(BaseModel):
    """Lines of one file, each as ``number: text``."""

    path: str
    lines: list[str]


class Matches(Answer):
    """A page of matching lines, or counts of them per file when the lines would be too long."""

    repository: str
    files: list[FileLines]
    counts: dict[str, int] | None = None
    hint: str | None = None
    cursor: str | None = None


class Outline(Answer):
    """Definitions of one file, each as ``first-last signature``."""

    repository: str
    path: str
    language: str | None
    definitions: list[str]
    hint: str | None = None


class Symbols(Answer):
    """A page of definitions; `exact` says whether they have the very name."""

    repository: str
    exact: bool
    total: int
    symbols: list[str]
    hint: str | None = None
    cursor: str | None = None


class References(Answer):
    """A page of lines that name a symbol, or counts; `source` is ``scip`` or ``text``."""

    repository: str
    source: str
    total: int
    references: list[str]
    counts: dict[str, int] | None = None
    hint: str | None = None
    cursor: str | None = None


class RepositoryStatus(BaseModel):
    """State of one index; `skipped` counts the files left out by reason."""

    repository: str
    commit: str | None
    indexed_at: str
    age_seconds: int
    files: int
    symbols: int
    languages: dict[str, int]
    skipped: dict[str, int]
    capabilities: list[str]
    remote: str | None


class Status(Answer):
    """All indexes, and the reason for each one that does not open."""

    version: str
    repositories: list[RepositoryStatus]
    unusable: dict[str, str]
    hint: str | None = None


class Tools:
    """The tool functions over one application context."""

    def __init__(self, context: ApplicationContext) -> None:
        """Answer from the indexes of `context`."""
        self._context = context

    def search(self, query: Words) -> Results:
        """Find code by words or names, best first, over all repositories."""
        return search(self._context, query, by_words)

    def semantic_search(self, query: Words) -> Results:
        """Find code by meaning, when its words are unknown."""
        return search(self._context, query, by_meaning)

    def fetch(
        self,
        id: Annotated[str, Field(description="From search", max_length=2000)],  # noqa: A002 (the name that ChatGPT asks for)
    ) -> Document:
        """Get the text of a search result."""
        return fetch(self._context, id)

    def grep(  # noqa: PLR0913 (arguments of a tool call have names)
        self,
        pattern: Annotated[
            str, Field(description="RE2, within one line", min_length=1, max_length=1000)
        ],
        *,
        path: Glob = None,
        ignore_case: bool = False,
        limit: Annotated[int, Field(ge=1, le=500, description="Lines a page, up to 500")] = 50,
        repository: Repository = None,
        cursor: Cursor = None,
    ) -> Matches:
        """Find lines that match a regular expression."""
        compiled = compile_pattern(pattern, ignore_case=ignore_case)
        with self._context.indexes.open(repository) as index:
            info = index.info
            query = ["grep", info.repository, pattern, path, ignore_case]
            after = decode_cursor(cursor, query, info.generation)
            paths = _select(index, path) if path else None
            hits = grep(index, compiled, paths, after)
            shown = list(islice(hits, limit))
            files: list[FileLines] = []
            for hit in shown:
                if not files or files[-1].path != hit.path:
                    files.append(FileLines(path=hit.path, lines=[]))
                files[-1].lines.append(f"{hit.line}: {hit.text}")
            if size(files) > MAX_ANSWER - ENVELOPE:
                found = Counter(hit.path for hit in grep(index, compiled, paths, after))
                counts, more_files = most(found)
                return Matches(
                    repository=info.repository,
                    files=[],
                    counts=counts,
                    hint=f"too long to show: {found.total()} lines in these{more_files};"
                    " narrow pattern or path, or lower limit",
                )
            answer = Matches(repository=info.repository, files=files)
            if shown and next(hits, None) is not None:
                last = shown[-1]
                answer.cursor = encode_cursor(query, info.generation, last.path, last.line)
            return answer

    def read(
        self,
        path: Path,
        start_line: Line = 1,
        end_line: Line | None = None,
        around: Annotated[
            Line | None, Field(description="Read just the definition around this line")
        ] = None,
        repository: Repository = None,
    ) -> Text:
        """Read a file, or its lines from start_line to end_line (inclusive)."""
        with self._context.indexes.open(repository) as index:
            file = open_file(index, path)
            if around is not None:
                start_line, end_line = index.chunk(file.path, around)
            answer = Text(
                repository=index.info.repository,
                path=file.path,
                start_line=start_line,
                end_line=file.lines,
                total_lines=file.lines,
                text="",
            )
        wanted = min(end_line or file.lines, file.lines)
        last = wanted if end_line else min(wanted, start_line + WHOLE_FILE - 1)
        spare = MAX_ANSWER - size(answer) - 200
        answer.text, answer.end_line = read_lines(file, start_line, last, spare)
        if answer.end_line < wanted:
            following = answer.end_line + 1
            answer.hint = f"continue with start_line={following}, or see outline"
        return answer

    def outline(self, path: Path, repository: Repository = None) -> Outline:
        """List the definitions in a file, with their lines."""
        with self._context.indexes.open(repository) as index:
            file = open_file(index, path)
            definitions, hint = outline_lines(index.outline(file.path))
            return Outline(
                repository=index.info.repository,
                path=file.path,
                language=file.language,
                definitions=definitions,
                hint=hint if definitions else "no definitions known here; read it",
            )

    def files(
        self, glob: Glob = None, repository: Repository = None, cursor: Cursor = None
    ) -> Files:
        """List indexed paths."""
        with self._context.indexes.open(repository) as index:
            info = index.info
            paths = _select(index, glob) if glob else index.paths()
        half = (MAX_ANSWER - ENVELOPE) // 2
        shown, following = page(
            paths,
            str,
            limit=PATHS,
            cursor=cursor,
            query=["files", info.repository, glob],
            generation=info.generation,
            budget=half,
        )
        return Files(
            repository=info.repository,
            total=len(paths),
            directories=_directories(paths, half) if following and not cursor else None,
            paths=shown,
            cursor=following,
        )

    def symbols(
        self,
        name: Name,
        kind: Annotated[str | None, Field(description="class, function, method…")] = None,
        path: Glob = None,
        repository: Repository = None,
        cursor: Cursor = None,
    ) -> Symbols:
        """Find definitions by name, or by a part of it when none has that very name."""
        with self._context.indexes.open(repository) as index:
            info = index.info
            _require(index, "symbols")
            matches = compile_glob(path) if path else None
            found, exact = find_symbols(
                index,
                name,
                lambda one: (
                    (kind is None or one.kind == kind.lower())
                    and (matches is None or matches(one.path))
                ),
            )
        hint = None
        if not found and exact:
            hint = "what has this name is of another kind or path; leave these out"
        elif not found:
            hint = "nothing has such a name; try search or grep"
        elif not exact and len(found) == MAX_SIMILAR:
            hint = f"names like it, the best {MAX_SIMILAR} of more; give more of the name"
        shown, following = page(
            found,
            describe,
            limit=SYMBOLS,
            cursor=cursor,
            query=["symbols", info.repository, name, kind, path],
            generation=info.generation,
        )
        return Symbols(
            repository=info.repository,
            exact=exact,
            total=len(found),
            symbols=shown,
            hint=hint,
            cursor=following,
        )

    def references(
        self, name: Name, path: Glob = None, repository: Repository = None, cursor: Cursor = None
    ) -> References:
        """Find the lines that define, import, call or name a symbol."""
        with self._context.indexes.open(repository) as index:
            info = index.info
            _require(index, "references")
            matches = compile_glob(path) if path else None
            every, source = index.references(last_part(name), dotted(name))
            found = [one for one in every if matches is None or matches(one.path)]
            found.sort(key=lambda one: one.kind != "definition")
            answer = References(
                repository=info.repository,
                source=source,
                total=len(found),
                references=[],
                hint=None if found else "nothing names it; try symbols, which knows similar names",
            )
            if len(found) > 5 * REFERENCES and cursor is None:
                answer.counts, more_files = most(Counter(one.path for one in found))
                answer.hint = f"in these{more_files}; narrow with path to see lines"
                return answer
            answer.references, answer.cursor = page(
                found,
                _with_text(index),
                limit=REFERENCES,
                cursor=cursor,
                query=["references", info.repository, name, path],
                generation=info.generation,
            )
            return answer

    def status(self) -> Status:
        """Show what is indexed, how fresh it is, and what was left out."""
        indexes = self._context.indexes.scan()
        repositories = [
            RepositoryStatus(
                repository=name,
                commit=info.commit,
                indexed_at=info.indexed_at,
                age_seconds=age_seconds(info),
                files=info.files,
                symbols=info.symbols,
                languages=dict(info.languages),
                skipped=dict(info.skipped),
                capabilities=sorted(info.capabilities),
                remote=info.remote,
            )
            for name, info in indexes.ready.items()
        ]
        half = (MAX_ANSWER - ENVELOPE) // 2
        shown = list(fit(repositories, half))
        left = len(repositories) - len(shown)
        return Status(
            version=self._context.version,
            repositories=shown,
            unusable=dict(fit(indexes.broken.items(), half)),
            hint=f"and {left} more repositories" if left else indexes.reason,
        )

    def table(self) -> list[tuple[Callable[..., Any], str, str | None]]:
        """Return (function, title, needed capability) of every tool."""
        return [
            (self.search, "Search", "text"),
            (self.semantic_search, "Search by meaning", "semantic"),
            (self.fetch, "Fetch a search result", "text"),
            (self.grep, "Search by regular expression", "text"),
            (self.read, "Read a file", "text"),
            (self.outline, "Outline a file", "symbols"),
            (self.files, "List files", "text"),
            (self.symbols, "Find definitions", "symbols"),
            (self.references, "Find references", "references"),
            (self.status, "Index status", None),
        ]


def _select(index: Index, glob: str) -> list[str]:
    matches = compile_glob(glob)
    return [path for path in index.paths() if matches(path)]


def _directories(paths: list[str], budget: int) -> dict[str, int]:
    """Count `paths` by the first directory in which they differ."""
    first, last = paths[0].split("/")[:-1], paths[-1].split("/")[:-1]
    depth = 0  # of the directory that all share; they are sorted, so the ends tell
    while depth < min(len(first), len(last)) and first[depth] == last[depth]:
        depth += 1
    counts = Counter("/".join(path.split("/")[:-1][: depth + 1]) or "." for path in paths)
    return most(counts, budget)[0]


def _require(index: Index, capability: str) -> None:
    if capability not in index.info.capabilities:
        raise CodeintelError(
            f"{index.info.repository} has no {capability}; use grep, status lists what it has"
        )


def _with_text(index: Index) -> Callable[[Reference], str]:
    """Return what shows a reference as ``path:line kind: text``."""
    known: dict[str, list[str]] = {}

    def show(reference: Reference) -> str:
        if reference.path not in known:
            file = index.file(reference.path)
            known[reference.path] = split_lines(file.text) if file else []
        lines = known[reference.path]
        text = lines[reference.line - 1].strip() if reference.line <= len(lines) else ""
        text = text if len(text) <= MAX_LINE else f"{text[:MAX_LINE]}…"
        return f"{reference.path}:{reference.line} {reference.kind}: {text}"

    return show
