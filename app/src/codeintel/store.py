"""Read-only access to the index files; nothing here touches a repository."""

import json
import re
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import quote

from zstandard import ZstdDecompressor, ZstdError

from codeintel import ranking
from codeintel.errors import CodeintelError
from codeintel.regex import compile_regex, escape, matching_lines
from codeintel.schema import APPLICATION_ID, ROWS_PER_FILE, SCHEMA_VERSION
from codeintel.trigrams import trigram_expression

if TYPE_CHECKING:  # numpy is optional
    import numpy as np
    from numpy.typing import NDArray

MAX_SIMILAR = 500
"""Definitions whose names are like the one that was asked for."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
FILE = re.compile(rf"({NAME.pattern})\.([0-9]{{1,9}})\.sqlite")
"""Name of an index: its repository and schema. Releases with different schemas thus have
indexes side by side, and changing to one, or back, leaves the other with what it reads."""

_SYMBOL = (
    "SELECT name, kind, path, line, end_line, container, signature"
    " FROM symbols JOIN files ON files.id = symbols.id >> 20"
)


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What an index says about itself.

    `generation` is a digest of paths and contents, so that a rebuild which changed nothing
    keeps cursors valid; `indexed_at` is ISO 8601 in UTC; `skipped` counts files by reason and
    `languages` by language; `remote` is the address of the origin without credentials, and `prefix`
    where in that repository the tree is: empty, or with a slash at its end.
    """

    repository: str
    generation: str
    commit: str | None
    indexed_at: str
    files: int
    skipped: Mapping[str, int]
    symbols: int
    languages: Mapping[str, int]
    capabilities: frozenset[str]
    remote: str | None
    prefix: str


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """One file as it was when it was indexed; `language` is None when it is unknown."""

    path: str
    language: str | None
    lines: int
    text: str


@dataclass(frozen=True, slots=True)
class Symbol:
    """One definition; lines are 1-based and inclusive, `signature` is its first line, stripped.

    `container` joins the names of the definitions around it by dots.
    """

    name: str
    kind: str
    path: str
    line: int
    end_line: int
    container: str | None
    signature: str


@dataclass(frozen=True, slots=True)
class Reference:
    """One line that names a symbol; `kind` is definition, call, import or reference."""

    path: str
    line: int
    kind: str


@dataclass(frozen=True, slots=True)
class Ranked:
    """One chunk that answers a query; `symbol` is what it defines, a higher `score` is better."""

    path: str
    start_line: int
    end_line: int
    symbol: str | None
    score: float


class Index:
    """An open index; sees one generation even when the file is replaced meanwhile."""

    def __init__(self, database: sqlite3.Connection, repository: str) -> None:
        """Read the description out of an open `database`, which `close` closes."""
        self._database = database
        self.close = database.close
        self._zstd = ZstdDecompressor()
        meta = dict(database.execute("SELECT key, value FROM meta"))
        self.model: str = meta["model"]
        """Digest of the encoder that made the vectors, empty without them."""
        self.info = IndexInfo(
            repository=repository,
            generation=meta["generation"],
            commit=meta["commit"] or None,
            indexed_at=meta["indexed_at"],
            files=int(meta["files"]),
            skipped=MappingProxyType(json.loads(meta["skipped"])),
            symbols=int(meta["symbols"]),
            languages=MappingProxyType(json.loads(meta["languages"])),
            capabilities=frozenset(json.loads(meta["capabilities"])),
            remote=meta["remote"] or None,
            prefix=meta.get("prefix", ""),  # which older builds of this schema lack
        )

    def paths(self) -> list[str]:
        """Return all paths in their order."""
        return [row[0] for row in self._database.execute("SELECT path FROM files ORDER BY path")]

    def file(self, path: str) -> IndexedFile | None:
        """Return the file at exactly `path`."""
        query = "SELECT path, language, lines, text FROM files JOIN texts ON file = id"
        row = self._database.execute(f"{query} WHERE path = ?", (path,)).fetchone()
        if row is None:
            return None
        path, language, lines, packed = row
        return IndexedFile(path, language, lines, self._zstd.decompress(packed).decode())

    def left_out(self, path: str) -> str | None:
        """Return the reason for which the file at `path` is not indexed; None if it was not met."""
        query = "SELECT reason FROM skipped WHERE path = ?"
        row = self._database.execute(query, (path,)).fetchone()
        return row[0] if row else None

    def kinds(self) -> set[str]:
        """Return the kinds of all definitions."""
        return {row[0] for row in self._database.execute("SELECT DISTINCT kind FROM symbols")}

    def content(self, path: str) -> bytes:
        """Return the bytes of `path`, which must be one of `paths`."""
        query = "SELECT text FROM files JOIN texts ON file = id WHERE path = ?"
        return self._zstd.decompress(self._database.execute(query, (path,)).fetchone()[0])

    def candidates(self, pattern: str, ignore_case: bool) -> list[str] | None:
        """Return the paths, in their order, in which the RE2 `pattern` can match.

        None when the pattern requires no three characters in a row: then any path can.
        """
        expression = trigram_expression(pattern, ignore_case=ignore_case)
        if expression is None:
            return None
        matching = "SELECT rowid FROM trigrams WHERE trigrams MATCH ?"
        query = "SELECT path FROM files WHERE id IN"
        rows = self._database.execute(f"{query} ({matching}) ORDER BY path", (expression,))
        return [row[0] for row in rows]

    def outline(self, path: str) -> list[Symbol]:
        """Return the definitions in `path` in the order of their lines."""
        rows = self._database.execute(
            f"{_SYMBOL} WHERE symbols.id BETWEEN ? AND ? ORDER BY line, symbols.id",
            self._rows_of(path),
        )
        return [Symbol(*row) for row in rows]

    def symbols(self, name: str) -> list[Symbol]:
        """Return all definitions of the very `name`, best first: in the same case, then others."""
        rows = self._database.execute(f"{_SYMBOL} WHERE name = ? COLLATE NOCASE", (name,))
        return sorted((Symbol(*row) for row in rows), key=lambda s: (s.name != name, *_place(s)))

    def similar_symbols(self, name: str, wanted: Callable[[Symbol], bool]) -> list[Symbol]:
        """Return at most `MAX_SIMILAR` of the `wanted` definitions, best first.

        Their names contain `name`, or all its camel and snake parts.
        """
        parts = ranking.parts(name) or [name.lower()]
        contains = " AND ".join("instr(lower(name), ?)" for _ in parts)
        query = "SELECT DISTINCT name FROM symbols WHERE"
        names = (row[0] for row in self._database.execute(f"{query} {contains}", parts))
        symbols: list[Symbol] = []
        for one in sorted(names, key=lambda n: ranking.name_key(n, name)):
            query = f"{_SYMBOL} WHERE name = ? COLLATE NOCASE AND name = ?"
            found = (Symbol(*row) for row in self._database.execute(query, (one, one)))
            symbols += sorted(filter(wanted, found), key=_place)
            if len(symbols) >= MAX_SIMILAR:
                break
        return symbols[:MAX_SIMILAR]

    def references(self, name: str, qualified: str = "") -> tuple[list[Reference], str]:
        """Return the lines that use or define `name`, in the order of path and line, and by what.

        By ``scip`` if that knows the name, then only of those symbols whose qualified name ends
        with `qualified`, if there are any; else by ``text``: every line that holds it as a whole
        word, and of what kind each is by the grammar of its language.
        """
        query = "SELECT id, qualified FROM scip_symbols WHERE name = ?"
        if known := self._database.execute(query, (name,)).fetchall():
            inside = [one for one, full in known if f".{full}".endswith(f".{qualified or name}")]
            query = (
                "SELECT path, line, min(role) FROM occurrences JOIN files ON id = file"
                " WHERE symbol IN (SELECT value FROM json_each(?))"  # a definition is the least
                " GROUP BY path, line ORDER BY path, line"
            )
            symbols = json.dumps(inside or [one for one, _ in known])
            rows = self._database.execute(query, (symbols,))
            return [Reference(*row) for row in rows], "scip"
        kinds: dict[tuple[str, int], str] = {}
        query = (
            "SELECT path, kind, refs.lines FROM refs JOIN files ON files.id = refs.id >> 20"
            " WHERE name = ? ORDER BY kind DESC"
        )
        for path, kind, lines in self._database.execute(query, (name,)):
            kinds |= {(path, int(line)): kind for line in lines.split()}
        rows = self._database.execute(f"{_SYMBOL} WHERE name = ? COLLATE NOCASE", (name,))
        kinds |= {(row[2], row[3]): "definition" for row in rows if row[0] == name}
        pattern = rf"\b{escape(name)}\b" if re.fullmatch(r"\w+", name, re.ASCII) else escape(name)
        compiled = compile_regex(pattern.encode())
        paths = self.candidates(pattern, ignore_case=False)
        found = [
            Reference(path, line, kinds.get((path, line), "reference"))
            for path in (self.paths() if paths is None else paths)
            for line, *_ in matching_lines(compiled, self.content(path))
        ]
        return found, "text"

    def scope(
        self,
        matches: Callable[[str], bool] | None,
        languages: Collection[str],
        kinds: Collection[str],
    ) -> str | None:
        """Return what `ranked` and `nearest` take as the chunks to look at, None for all.

        They are in files whose paths match and which are in one of `languages`, and they define
        something of one of `kinds`; what is None or empty does not narrow them.
        """
        if matches is None and not languages and not kinds:
            return None
        rows = self._database.execute("SELECT id, path, language FROM files")
        files = {
            file
            for file, path, language in rows
            if (matches is None or matches(path)) and (not languages or language in languages)
        }
        query = (
            "SELECT id >> 20, iif(container IS NULL, name, container || '.' || name) FROM symbols"
            " WHERE kind IN (SELECT value FROM json_each(?))"
        )
        defined = set(self._database.execute(query, (json.dumps(list(kinds)),))) if kinds else None
        chunks = self._database.execute("SELECT id, id >> 20, symbol FROM chunks")
        return json.dumps(
            [
                chunk
                for chunk, file, symbol in chunks
                if file in files and (defined is None or (file, symbol) in defined)
            ]
        )

    def ranked(self, query: str, *, limit: int, scope: str | None = None) -> list[Ranked]:
        """Return the chunks that answer `query`, words or identifiers, best first."""
        words = ranking.words(query)
        if not words:
            return []
        found = self._database.execute(
            "SELECT path, line, end_line, symbol, score FROM"
            " (SELECT rowid AS found, -bm25(ranks, ?, ?, ?) AS score FROM ranks WHERE ranks MATCH ?"
            " AND (?5 IS NULL OR rowid IN (SELECT value FROM json_each(?5)))"
            " ORDER BY score DESC LIMIT ?6)"
            " JOIN chunks ON chunks.id = found JOIN files ON files.id = found >> 20",
            (*ranking.WEIGHTS, ranking.match_expression(words), scope, ranking.POOL),
        )
        scored = [
            Ranked(path, line, end_line, symbol, score * ranking.factor(path, symbol, words))
            for path, line, end_line, symbol, score in found
        ]
        return _by_file(scored)[:limit]

    def nearest(
        self, vector: "NDArray[np.float32]", *, limit: int, scope: str | None = None
    ) -> list[Ranked]:
        """Return chunks whose vectors are near to the unit `vector`, ordered as in `ranked`.

        `vector` must be of the model whose digest `model` is.
        """
        from codeintel.vectors import nearest, unpack  # noqa: PLC0415 (imports numpy)

        packed = self._database.execute("SELECT file, packed FROM vectors").fetchall()
        [dimension] = vector.shape
        ids = [
            file * ROWS_PER_FILE + row
            for file, vectors in packed
            for row in range(len(vectors) // dimension)
        ]
        every = unpack(b"".join(v for _, v in packed), dimension)
        if scope is not None:
            among = set(json.loads(scope))
            rows_within = [row for row, chunk in enumerate(ids) if chunk in among]
            ids, every = [ids[row] for row in rows_within], every[rows_within]
        if not ids:
            return []
        rows = nearest(every, vector, limit)
        query = (
            "SELECT path, line, end_line, symbol FROM chunks JOIN files"
            " ON files.id = chunks.id >> 20 WHERE chunks.id = ?"
        )
        found = []
        for row, similarity in rows:
            chunk = self._database.execute(query, (ids[row],)).fetchone()
            path, line, end_line, symbol = chunk
            found.append(Ranked(path, line, end_line, symbol, similarity))
        return _by_file(found)

    def chunk(self, path: str, line: int) -> tuple[int, int]:
        """Return the first and the last line of the chunk that holds `line` of `path`.

        Just that line if it is in no chunk.
        """
        row = self._database.execute(
            "SELECT line, end_line FROM chunks WHERE id BETWEEN ? AND ? AND ? BETWEEN line AND"
            " end_line ORDER BY end_line - line LIMIT 1",
            (*self._rows_of(path), line),
        ).fetchone()
        return row or (line, line)

    def _rows_of(self, path: str) -> tuple[int, int]:
        """Return the first and the last possible id of a symbol or chunk of `path`."""
        query = "SELECT id FROM files WHERE path = ?"
        (file,) = self._database.execute(query, (path,)).fetchone() or (-1,)
        return file * ROWS_PER_FILE, (file + 1) * ROWS_PER_FILE - 1


def _place(symbol: Symbol) -> tuple[bool, str, int]:
    """Return the sort key of definitions of one name: code first."""
    return ranking.is_demoted(symbol.path), symbol.path, symbol.line


def _by_file(scored: list[Ranked]) -> list[Ranked]:
    """Order chunks so that a file with several good ones comes first, and other files between.

    A file weighs the sum of its chunks, each counted half as much as the one before it.
    """
    files: dict[str, list[Ranked]] = {}
    for one in sorted(scored, key=lambda r: (-r.score, r.path, r.start_line)):
        files.setdefault(one.path, []).append(one)
    ordered = []
    for chunks in files.values():
        shares = [chunk.score / 2**at for at, chunk in enumerate(chunks)]
        whole = sum(shares) / shares[0]
        ordered += [replace(c, score=s * whole) for c, s in zip(chunks, shares, strict=True)]
    return sorted(ordered, key=lambda r: (-r.score, r.path, r.start_line))


def index_path(index_dir: Path, repository: str) -> Path:
    """Return where the index of `repository` lives.

    Raises CodeintelError if the name cannot be a file name and a tool argument alike.
    """
    if not NAME.fullmatch(repository):
        raise CodeintelError(
            f"invalid repository name {repository!r}; use up to 64 letters, digits, '.', '_', '-'"
        )
    return index_dir / f"{repository}.{SCHEMA_VERSION}.sqlite"


@contextmanager
def open_index(file: Path) -> Iterator[Index]:
    """Open one index file read-only for one use. Raises as `connect_index` and `explained` do."""
    with closing(connect_index(file)) as index, explained(file):
        yield index


def connect_index(file: Path) -> Index:
    """Return an index of one file, read-only, which any one thread at a time may use.

    Raises CodeintelError if it is no index, of another schema version, or damaged.
    """
    # immutable: no lock and no -wal or -shm file, so a read-only directory is enough.
    uri = f"file:{quote(str(file))}?mode=ro&immutable=1"
    with explained(file):
        database = sqlite3.connect(uri, uri=True, check_same_thread=False)
        try:
            (application,) = database.execute("PRAGMA application_id").fetchone()
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if application != APPLICATION_ID:
                raise CodeintelError(f"{file.name} is not an index; {_rebuild(_repository(file))}")
            if version != SCHEMA_VERSION:
                raise CodeintelError(of_another_schema(_repository(file), version))
            return Index(database, _repository(file))
        except (KeyError, ValueError) as error:  # of what it says about itself
            database.close()
            raise CodeintelError(_damaged(file)) from error
        except BaseException:
            database.close()
            raise


@contextmanager
def explained(file: Path) -> Iterator[None]:
    """Raise CodeintelError, which says how to rebuild `file`, for what shows that it is damaged."""
    try:
        yield
    except (sqlite3.Error, ZstdError) as error:
        raise CodeintelError(_damaged(file)) from error


def of_another_schema(repository: str, schema: int) -> str:
    """Return what is wrong with an index of `schema`, and what to do."""
    found = f"the index of {repository} has schema {schema}, not {SCHEMA_VERSION}"
    return f"{found}; {_rebuild(repository)}"


def _repository(file: Path) -> str:
    match = FILE.fullmatch(file.name)
    return match[1] if match else file.stem


def _damaged(file: Path) -> str:
    return f"the index of {_repository(file)} is damaged; {_rebuild(_repository(file))}"


def _rebuild(repository: str) -> str:
    return f"rebuild it with: codeintel index PATH --name {repository}"
