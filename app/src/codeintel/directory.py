"""The directory of the indexes: what is in it now, and connections to it that are kept."""

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Lock
from types import MappingProxyType

from zstandard import ZstdError

from codeintel.errors import CodeintelError
from codeintel.schema import SCHEMA_VERSION
from codeintel.store import (
    FILE,
    Index,
    IndexInfo,
    connect_index,
    explained,
    index_path,
    of_another_schema,
    open_index,
)

MAX_NAMES = 50
"""Repositories that a message names."""

MAX_IDLE = 8
"""Connections that are kept open for the next call; each may hold 2 MB of pages."""

FRESH_NS = 1_000_000_000
"""A directory that changed this recently may change again without a new time stamp."""

_Key = tuple[int, ...]
"""Device, inode, size and mtime in ns of an index: one file, which never changes in place."""


@dataclass(frozen=True, slots=True)
class Indexes:
    """One look at the index directory: what opens, and why the rest does not."""

    ready: Mapping[str, IndexInfo]
    broken: Mapping[str, str]
    reason: str | None
    """Why `ready` is empty; None when it is not."""
    readable: bool
    """Whether the directory could be listed, if there is one."""


class IndexDirectory:
    """The directory with an index of each repository; files may come and go at any time."""

    def __init__(self, path: Path) -> None:
        """Remember `path`, which need not exist yet."""
        self._path = path
        self._known: dict[_Key, IndexInfo | str] = {}
        self._keys: dict[str, _Key] = {}  # by repository
        self._lock = Lock()
        self._idle: list[tuple[_Key, Index]] = []  # the one used last is last
        self._seen: tuple[int, Indexes] | None = None  # ctime in ns of the directory

    def scan(self) -> Indexes:
        """Look at the directory again; only files that are new are opened."""
        try:
            changed = self._path.stat().st_ctime_ns
        except OSError:
            changed = time.time_ns()
        if self._seen is not None and self._seen[0] == changed:
            return self._seen[1]
        indexes = self._look()
        # What is broken may be mended without a change of the directory, by chmod for one.
        trusted = time.time_ns() - changed > FRESH_NS and indexes.ready and not indexes.broken
        self._seen = (changed, indexes) if trusted else None
        return indexes

    def _look(self) -> Indexes:
        known: dict[_Key, IndexInfo | str] = {}
        keys: dict[str, _Key] = {}
        ready: dict[str, IndexInfo] = {}
        broken: dict[str, str] = {}
        others: dict[str, str] = {}
        readable = True
        reason = "no index yet; build one with: codeintel index PATH --name NAME"
        try:
            files = sorted(self._path.iterdir())
        except FileNotFoundError:
            files = []
        except OSError as error:
            files, readable = [], False
            reason = f"the index directory cannot be read: {error.strerror}"
        for file in files:
            match = FILE.fullmatch(file.name)
            if match is None:
                continue
            repository, schema = match[1], int(match[2])
            if schema != SCHEMA_VERSION:
                others[repository] = of_another_schema(repository, schema)
                continue
            try:
                state = file.stat()
            except FileNotFoundError:  # removed a moment ago
                continue
            key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
            found = known[key] = self._known.get(key) or _describe(file)
            if isinstance(found, str):
                broken[repository] = reason = found
            else:
                ready[repository] = found
                keys[repository] = key
        for repository, why in others.items():
            if repository not in ready and repository not in broken:
                broken[repository] = reason = why
        self._known, self._keys = known, keys
        return Indexes(
            MappingProxyType(ready), MappingProxyType(broken), None if ready else reason, readable
        )

    @contextmanager
    def open(self, repository: str | None) -> Iterator[Index]:
        """Open the index of `repository`, which may be None when there is just one.

        Raises CodeintelError if there is no such index or it is unusable.
        """
        indexes = self.scan()
        names = ", ".join(islice(indexes.ready, MAX_NAMES)) or "none"
        names += ", …" if len(indexes.ready) > MAX_NAMES else ""
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
        file = index_path(self._path, repository)
        key = self._keys.get(repository, ())
        index = self._take(key) or connect_index(file)
        with explained(file):
            try:
                yield index
            except (sqlite3.Error, ZstdError):
                index.close()
                raise
            except BaseException:
                self._keep(key, index)
                raise
        self._keep(key, index)

    def _take(self, key: _Key) -> Index | None:
        """Return a connection to the file `key` that nobody else uses."""
        with self._lock:
            for at, (opened, index) in enumerate(self._idle):
                if opened == key:
                    del self._idle[at]
                    return index
        return None

    def _keep(self, key: _Key, index: Index) -> None:
        """Keep a connection for the next call; close those to files that are gone."""
        with self._lock:
            every = [*self._idle, (key, index)]
            self._idle = [one for one in every if one[0] in self._known][-MAX_IDLE:]
            dropped = [one for one in every if one not in self._idle]
        for _, unused in dropped:
            unused.close()


def _describe(file: Path) -> IndexInfo | str:
    try:
        with open_index(file) as index:
            return index.info
    except CodeintelError as error:
        return str(error)
