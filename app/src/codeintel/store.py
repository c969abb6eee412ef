"""Read-only access to the index files; nothing here touches a repository."""

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from codeintel.errors import CodeintelError

APPLICATION_ID = 0x63_69_64_78  # "cidx"
SCHEMA_VERSION = 1
SUFFIX = ".sqlite"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What an index says about itself.

    `generation` is a digest of paths and contents, so that a rebuild which changed nothing
    keeps cursors valid; `indexed_at` is ISO 8601 in UTC; `skipped` counts files by reason.
    """

    repository: str
    generation: str
    commit: str | None
    indexed_at: str
    files: int
    skipped: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Indexes:
    """One look at the index directory: what opens, and why the rest does not."""

    ready: Mapping[str, IndexInfo]
    broken: Mapping[str, str]
    reason: str | None
    """Why `ready` is empty; None when it is not."""


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """One file as it was when it was indexed."""

    path: str
    lines: int
    text: str


class Index:
    """An open index; sees one generation even when the file is replaced meanwhile."""

    def __init__(self, database: sqlite3.Connection, repository: str) -> None:
        """Read the description out of an open `database`."""
        self._database = database
        meta = dict(database.execute("SELECT key, value FROM meta"))
        self.info = IndexInfo(
            repository=repository,
            generation=meta["generation"],
            commit=meta["commit"] or None,
            indexed_at=meta["indexed_at"],
            files=int(meta["files"]),
            skipped=MappingProxyType(json.loads(meta["skipped"])),
        )

    def paths(self) -> list[str]:
        """Return all paths in their order."""
        return [row[0] for row in self._database.execute("SELECT path FROM files ORDER BY path")]

    def file(self, path: str) -> IndexedFile | None:
        """Return the file at exactly `path`."""
        query = "SELECT path, lines, text FROM files WHERE path = ?"
        row = self._database.execute(query, (path,)).fetchone()
        return IndexedFile(*row) if row else None

    def content(self, path: str) -> bytes:
        """Return the bytes of `path`, which must be one of `paths`."""
        query = "SELECT CAST(text AS BLOB) FROM files WHERE path = ?"
        content: bytes = self._database.execute(query, (path,)).fetchone()[0]
        return content


class IndexDirectory:
    """The directory with one index file per repository; files may come and go at any time."""

    def __init__(self, path: Path) -> None:
        """Remember `path`, which need not exist yet."""
        self._path = path
        # (device, inode, size, mtime in ns) -> what that file says: a file never changes in place.
        self._known: dict[tuple[int, ...], IndexInfo | str] = {}

    def scan(self) -> Indexes:
        """Look at the directory again; only files that are new are opened."""
        known: dict[tuple[int, ...], IndexInfo | str] = {}
        ready: dict[str, IndexInfo] = {}
        broken: dict[str, str] = {}
        reason = "no index yet; build one with: codeintel index PATH --name NAME"
        try:
            files = sorted(self._path.iterdir())
        except FileNotFoundError:
            files = []
        except OSError as error:
            files = []
            reason = f"the index directory cannot be read: {error.strerror}"
        for file in files:
            if file.suffix != SUFFIX or not _NAME.fullmatch(file.stem):
                continue
            try:
                state = file.stat()
            except FileNotFoundError:  # removed a moment ago
                continue
            key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
            found = known[key] = self._known.get(key) or _describe(file)
            if isinstance(found, str):
                broken[file.stem] = reason = found
            else:
                ready[file.stem] = found
        self._known = known
        return Indexes(MappingProxyType(ready), MappingProxyType(broken), None if ready else reason)

    @contextmanager
    def open(self, repository: str | None) -> Iterator[Index]:
        """Open the index of `repository`, which may be None when there is just one.

        Raises CodeintelError if there is no such index or it is unusable.
        """
        indexes = self.scan()
        names = ", ".join(indexes.ready) or "none"
        if repository is None:
            if len(indexes.ready) > 1:
                raise CodeintelError(f"several repositories; pass repository, one of: {names}")
            if indexes.reason:
                raise CodeintelError(indexes.reason)
            repository = next(iter(indexes.ready))
        elif repository in indexes.broken:
            raise CodeintelError(indexes.broken[repository])
        elif repository not in indexes.ready:
            raise CodeintelError(f"unknown repository {repository[:64]!r}; one of: {names}")
        # A connection per call costs 0.1 ms and always sees the newest file.
        with open_index(index_path(self._path, repository)) as index:
            yield index


def index_path(index_dir: Path, repository: str) -> Path:
    """Return where the index of `repository` lives.

    Raises CodeintelError if the name cannot be a file name and a tool argument alike.
    """
    if not _NAME.fullmatch(repository):
        raise CodeintelError(
            f"invalid repository name {repository!r}; use up to 64 letters, digits, '.', '_', '-'"
        )
    return index_dir / f"{repository}{SUFFIX}"


@contextmanager
def open_index(file: Path) -> Iterator[Index]:
    """Open one index file read-only.

    Raises CodeintelError if it is no index, of another schema version, or damaged.
    """
    rebuild = f"rebuild it with: codeintel index PATH --name {file.stem}"
    damaged = f"the index of {file.stem} is damaged; {rebuild}"
    try:
        # immutable: no lock and no -wal or -shm file, so a read-only directory is enough.
        uri = f"file:{quote(str(file))}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as database:
            (application,) = database.execute("PRAGMA application_id").fetchone()
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if application != APPLICATION_ID:
                raise CodeintelError(f"{file.name} is not an index; {rebuild}")
            if version != SCHEMA_VERSION:
                raise CodeintelError(
                    f"the index of {file.stem} has schema {version}, not {SCHEMA_VERSION}; "
                    + rebuild
                )
            try:
                index = Index(database, file.stem)
            except (KeyError, ValueError) as error:
                raise CodeintelError(damaged) from error
            yield index
    except sqlite3.Error as error:
        raise CodeintelError(damaged) from error


def _describe(file: Path) -> IndexInfo | str:
    try:
        with open_index(file) as index:
            return index.info
    except CodeintelError as error:
        return str(error)
