"""Build the index of one repository: a new immutable file, put in place in one step."""

import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from zstandard import ZstdCompressor, ZstdDecompressor, ZstdError

from codeintel import __version__, languages
from codeintel.errors import CodeintelError
from codeintel.extract import Extract, extract
from codeintel.ranking import expanded, is_demoted
from codeintel.schema import ROWS_PER_FILE, SCHEMA, SCHEMA_VERSION
from codeintel.semantic import unavailable
from codeintel.sources import (
    FileState,
    SkipFileError,
    SourceFile,
    SourceTree,
    open_tree,
    read_files,
)
from codeintel.store import FILE, index_path, open_index

SECONDS_PER_DAY = 86_400

FILES_AHEAD = 16
"""Files that are prepared before the last one is stored."""

Chunk = tuple[int, int, str | None]


@dataclass(slots=True)
class BuildSummary:
    """What one build did; `size` is the sum of the indexed texts in bytes.

    `changed` counts files that were new, gone or of another content than in the last index,
    `stale` the occurrences in the SCIP file that do not fit the texts.
    """

    files: int = 0
    size: int = 0
    changed: int = 0
    stale: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Job:
    """What goes into an index."""

    tree: SourceTree
    progress: Callable[[int, int], None]
    scip: Path | None
    model: Path | None


def build_index(  # noqa: PLR0913 (what is optional has names)
    root: Path,
    repository: str,
    index_dir: Path,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    *,
    scip: Path | None = None,
    model: Path | None = None,
) -> BuildSummary:
    """Index the files under `root` as `repository` and replace its file in `index_dir`.

    What the last index says of files that have not changed is carried over. Readers see the
    old index or the new one, never a part, also after a kill or power loss. `progress` is called
    with the number of files done and of all files, with a `model` twice through. `scip` is an
    index.scip and `model` the folder of an encoder; what they add is not kept without them.

    Raises CodeintelError for an invalid name, a tree that cannot be listed, or a `scip` or
    `model` that cannot be used.
    """
    target = index_path(index_dir, repository)
    job = _Job(open_tree(root), progress, scip, model)
    index_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    _remove_leftovers(index_dir, repository)
    # A private directory: whoever else may write to `index_dir` cannot plant a link in it.
    with tempfile.TemporaryDirectory(prefix=f".{repository}-", dir=index_dir) as temporary:
        built = Path(temporary) / target.name
        summary = _update_copy(target, built, job)
        if summary is None:
            built.unlink(missing_ok=True)
            with closing(_connect(built)) as database:
                database.executescript(SCHEMA)
                summary = _update(database, job)
                database.execute("INSERT INTO trigrams (trigrams) VALUES ('optimize')")
                database.execute("INSERT INTO ranks (ranks) VALUES ('optimize')")
        built.chmod(0o644)  # the service reads it as another user
        _fsync(built)
        built.replace(target)
    _fsync(index_dir)
    return summary


def _update_copy(target: Path, built: Path, job: _Job) -> BuildSummary | None:
    """Bring a copy of `target` up to date; None when only a new start will do."""
    try:
        with open_index(target):
            shutil.copyfile(target, built)
    except CodeintelError:  # there is none, or one that is of another schema or damaged
        return None
    try:
        with closing(_connect(built)) as database:
            built_by = "SELECT value FROM meta WHERE key = 'builder'"
            if database.execute(built_by).fetchone() == (_builder(),):
                return _update(database, job)
    except (sqlite3.DatabaseError, ZstdError):  # damage that shows only now
        pass
    return None


def _connect(file: Path) -> sqlite3.Connection:
    database = sqlite3.connect(file, isolation_level=None)
    # The file is thrown away when the build fails, and one fsync at the end serves.
    database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
    return database


def _builder() -> str:
    """Return all that decides what is made of a text; a change makes the next build a full one."""
    return f"codeintel {__version__} sqlite {sqlite3.sqlite_version} {languages.fingerprint()}"


def _update(database: sqlite3.Connection, job: _Job) -> BuildSummary:
    """Make `database` say what the tree holds, in one transaction."""
    summary = BuildSummary()
    paths = job.tree.paths
    database.execute("BEGIN")
    ids: dict[str, tuple[int, bytes]] = {}
    known: dict[str, FileState] = {}
    query = "SELECT id, sha256, path, size, mtime_ns, inode FROM files"
    for file, checksum, path, *state in database.execute(query):
        ids[path] = file, checksum
        known[path] = FileState(*state)
    reasons: dict[str, str] = {}
    query = "SELECT reason, path, size, mtime_ns, inode FROM skipped"
    for reason, path, *state in database.execute(query):
        reasons[path] = reason
        known[path] = FileState(*state)
    gone = set(ids)
    next_id = max((file for file, _ in ids.values()), default=0) + 1
    skipped: list[tuple[str, str, int, int, int]] = []
    for done, (source, new) in enumerate(_prepared(read_files(job.tree, known), ids)):
        job.progress(done, len(paths))
        path, state, content = source.path, source.state, source.content
        if isinstance(content, SkipFileError) or (content is None and path in reasons):
            reason = reasons[path] if content is None else str(content)
            summary.skipped[reason] += 1
            printable = path.encode(errors="backslashreplace").decode()
            skipped.append((printable, reason, state.size, state.mtime_ns, state.inode))
            continue
        gone.discard(path)
        if new is not None:
            file, before = ids.get(path, (next_id, None))
            if before is None:
                next_id += 1
            else:
                _remove(database, file, path)
            _add(database, file, source, new)
            summary.changed += 1
        elif content is not None:
            query = "UPDATE files SET mtime_ns = ?, inode = ? WHERE id = ?"
            database.execute(query, (state.mtime_ns, state.inode, ids[path][0]))
    for path in gone:
        _remove(database, ids[path][0], path)
        summary.changed += 1
    database.execute("DELETE FROM skipped")
    database.executemany("INSERT INTO skipped VALUES (?, ?, ?, ?, ?)", skipped)
    summary.stale = _add_occurrences(database, job.scip)
    model = _add_vectors(database, job)
    query = "SELECT count(*), coalesce(sum(size), 0) FROM files"
    summary.files, summary.size = database.execute(query).fetchone()
    _describe(database, job.tree, summary, model)
    database.execute("COMMIT")
    job.progress(len(paths), len(paths))
    return summary


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What is to be stored of a text."""

    checksum: bytes
    language: str | None
    text: str
    packed: bytes
    extract: Extract
    ranked: list[tuple[int, str, str, str]]


def _prepared(
    sources: Iterable[SourceFile], ids: Mapping[str, tuple[int, bytes]]
) -> Iterator[tuple[SourceFile, _Prepared | None]]:
    """Yield every file, in order, with what is new in it, found while the caller stores others.

    SQLite and much of what it is given to store need no interpreter lock.
    """
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[tuple[SourceFile, Future[_Prepared | None] | None]] = deque()

        def next_one() -> tuple[SourceFile, _Prepared | None]:
            source, new = waiting.popleft()
            return source, new.result() if new else None

        for source in sources:
            content = source.content
            job: Future[_Prepared | None] | None = None
            if isinstance(content, bytes):
                job = pool.submit(_prepare, source.path, content, ids)
            waiting.append((source, job))
            if len(waiting) > FILES_AHEAD:
                yield next_one()
        while waiting:
            yield next_one()


def _prepare(path: str, content: bytes, ids: Mapping[str, tuple[int, bytes]]) -> _Prepared | None:
    """Return what is to be stored of a text; None if it already is."""
    checksum = sha256(content).digest()
    if ids.get(path, (0, b""))[1] == checksum:
        return None
    language = languages.detect(path, content)
    text = content.decode()
    found = extract(language, content)
    packed = ZstdCompressor().compress(content)
    ranked = list(_ranked_rows(path, text, found.chunks))
    return _Prepared(checksum, language, text, packed, found, ranked)


def _add(database: sqlite3.Connection, file: int, source: SourceFile, new: _Prepared) -> None:
    state, text = source.state, new.text
    lines = text.count("\n") + (text != "" and not text.endswith("\n"))
    size = len(text.encode())
    about = (new.language, size, new.checksum, lines, state.mtime_ns, state.inode)
    database.execute(
        "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (file, source.path, *about)
    )
    database.execute("INSERT INTO texts VALUES (?, ?)", (file, new.packed))
    database.execute("INSERT INTO trigrams (rowid, text) VALUES (?, ?)", (file, text))
    first = file * ROWS_PER_FILE
    database.executemany(
        "INSERT INTO symbols VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            (first + n, d.name, d.kind, d.line, d.end_line, d.container, d.signature)
            for n, d in enumerate(new.extract.definitions)
        ),
    )
    database.executemany(
        "INSERT INTO refs VALUES (?, ?, ?, ?)",
        (
            (first + n, name, kind, " ".join(map(str, lines)))
            for n, ((name, kind), lines) in enumerate(new.extract.uses.items())
        ),
    )
    database.executemany(
        "INSERT INTO chunks VALUES (?, ?, ?, ?)",
        ((first + n, *chunk) for n, chunk in enumerate(new.extract.chunks)),
    )
    database.executemany(
        "INSERT INTO ranks (rowid, path, symbol, body) VALUES (?, ?, ?, ?)",
        ((first + n, *words) for n, *words in new.ranked),
    )


def _remove(database: sqlite3.Connection, file: int, path: str) -> None:
    [packed] = database.execute("SELECT text FROM texts WHERE file = ?", (file,)).fetchone()
    text = ZstdDecompressor().decompress(packed).decode()
    first = file * ROWS_PER_FILE
    rows = (first, first + ROWS_PER_FILE - 1)
    query = "SELECT line, end_line, symbol FROM chunks WHERE id BETWEEN ? AND ? ORDER BY id"
    chunks: list[Chunk] = database.execute(query, rows).fetchall()
    # A contentless full-text table has to be told what it is to forget.
    database.execute(
        "INSERT INTO trigrams (trigrams, rowid, text) VALUES ('delete', ?, ?)", (file, text)
    )
    database.executemany(
        "INSERT INTO ranks (ranks, rowid, path, symbol, body) VALUES ('delete', ?, ?, ?, ?)",
        ((first + n, *words) for n, *words in _ranked_rows(path, text, chunks)),
    )
    database.execute("DELETE FROM refs WHERE id BETWEEN ? AND ?", rows)
    database.execute("DELETE FROM chunks WHERE id BETWEEN ? AND ?", rows)
    database.execute("DELETE FROM symbols WHERE id BETWEEN ? AND ?", rows)
    database.execute("DELETE FROM texts WHERE file = ?", (file,))
    database.execute("DELETE FROM vectors WHERE file = ?", (file,))
    database.execute("DELETE FROM files WHERE id = ?", (file,))


def _ranked_rows(path: str, text: str, chunks: list[Chunk]) -> Iterator[tuple[int, str, str, str]]:
    """Yield the number of each chunk and the words of its three columns in the ranking."""
    lines = text.split("\n")
    path_words = expanded(path)
    for number, (line, end_line, symbol) in enumerate(chunks):
        body = expanded("\n".join(lines[line - 1 : end_line]))
        yield number, path_words, expanded(symbol or ""), body


def _add_occurrences(database: sqlite3.Connection, scip: Path | None) -> int:
    """Put the occurrences in `scip` in the place of all others; return how many are stale."""
    database.execute("DELETE FROM occurrences")
    database.execute("DELETE FROM scip_symbols")
    if scip is None:
        return 0
    from codeintel.scip import read_occurrences  # noqa: PLC0415 (needed by few)

    stale = 0
    query = "SELECT id, text FROM files JOIN texts ON file = id WHERE path = ?"
    for path, group in groupby(read_occurrences(scip), attrgetter("path")):
        file, packed = database.execute(query, (path,)).fetchone() or (0, None)
        lines = ZstdDecompressor().decompress(packed).decode().split("\n") if packed else []
        for found in group:
            if found.symbol.endswith("/__init__:"):  # a module, which no line names
                continue
            # The file may have changed since; a line without the name is the sign of it.
            if found.line > len(lines) or found.name not in lines[found.line - 1]:
                stale += 1
                continue
            names = (found.name, found.qualified)
            add = "INSERT OR IGNORE INTO scip_symbols (name, qualified) VALUES (?, ?)"
            database.execute(add, names)
            add = (
                "INSERT OR IGNORE INTO occurrences SELECT id, ?, ?, ? FROM scip_symbols"
                " WHERE qualified = ?"
            )
            database.execute(add, (file, found.line, found.role, found.qualified))
    return stale


def _add_vectors(database: sqlite3.Connection, job: _Job) -> str:
    """Encode the chunks that have no vectors of this model; return its digest, "" without one.

    Tests and documents have none: they are most of the work, and would come before the code.
    """
    model = database.execute("SELECT value FROM meta WHERE key = 'model'").fetchone()
    if job.model is None:
        database.execute("DELETE FROM vectors")
        return ""
    if reason := unavailable():
        raise CodeintelError(reason)
    from codeintel.encoder import Encoder  # noqa: PLC0415 (they import numpy)
    from codeintel.vectors import pack  # noqa: PLC0415

    encoder = Encoder.load(job.model)
    if model != (encoder.digest,):
        database.execute("DELETE FROM vectors")
    missing = database.execute(
        "SELECT id, path, text FROM files JOIN texts ON texts.file = id"
        " WHERE id NOT IN (SELECT file FROM vectors) ORDER BY path"
    ).fetchall()
    query = "SELECT line, end_line, symbol FROM chunks WHERE id BETWEEN ? AND ? ORDER BY id"
    for done, (file, path, packed) in enumerate(missing):
        job.progress(done, len(missing))
        lines = ZstdDecompressor().decompress(packed).decode().split("\n")
        first = file * ROWS_PER_FILE
        texts = [
            "\n".join([f"{path} {symbol or ''}", *lines[line - 1 : end_line]])
            for line, end_line, symbol in database.execute(
                query, (first, first + ROWS_PER_FILE - 1)
            )
            if not is_demoted(path)
        ]
        vectors = pack(encoder.encode(texts)) if texts else b""
        database.execute("INSERT INTO vectors VALUES (?, ?)", (file, vectors))
    return encoder.digest


def _describe(
    database: sqlite3.Connection, tree: SourceTree, summary: BuildSummary, model: str
) -> None:
    digest = sha256(str(SCHEMA_VERSION).encode())
    for path, checksum in database.execute("SELECT path, sha256 FROM files ORDER BY path"):
        digest.update(path.encode() + b"\0" + checksum)
    [symbols] = database.execute("SELECT count(*) FROM symbols").fetchone()
    [occurrences] = database.execute("SELECT EXISTS (SELECT * FROM occurrences)").fetchone()
    capabilities = {
        "text": True,
        "symbols": symbols > 0,
        "references": symbols > 0 or occurrences,
        "scip": occurrences,
        "semantic": model,
    }
    by_language = database.execute(
        "SELECT language, count(*) FROM files WHERE language NOT NULL GROUP BY 1 ORDER BY 1"
    )
    meta = {
        "builder": _builder(),
        "generation": digest.hexdigest()[:16],
        "commit": tree.commit or "",
        "remote": tree.remote or "",
        "prefix": tree.prefix,
        "indexed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": str(summary.files),
        "skipped": json.dumps(dict(sorted(summary.skipped.items()))),
        "symbols": str(symbols),
        "languages": json.dumps(dict(by_language.fetchall())),
        "capabilities": json.dumps([name for name, on in capabilities.items() if on]),
        "model": model,
    }
    database.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", meta.items())


def _remove_leftovers(index_dir: Path, repository: str) -> None:
    """Remove what killed builds left behind; a day is longer than any build takes.

    And what releases long gone have read: of the indexes of other schemas the newest stays, which
    the release before this one reads.
    """
    others = [
        file
        for file in index_dir.glob(f"{repository}.*.sqlite")
        if (match := FILE.fullmatch(file.name))
        and match[1] == repository
        and file != index_path(index_dir, repository)
    ]
    for unread in sorted(others, key=lambda file: file.stat().st_mtime)[:-1]:
        unread.unlink(missing_ok=True)
    for leftover in index_dir.glob(f".{repository}-*"):
        if time.time() - leftover.lstat().st_mtime > SECONDS_PER_DAY:
            shutil.rmtree(leftover, ignore_errors=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
