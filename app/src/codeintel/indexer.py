"""Build the index of one repository: a new immutable file, put in place in one step."""

import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from codeintel.sources import SkipFileError, open_tree, read_files
from codeintel.store import APPLICATION_ID, SCHEMA_VERSION, index_path

SECONDS_PER_DAY = 86_400

_SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
PRAGMA journal_mode = OFF;  -- the file is thrown away when the build fails
PRAGMA synchronous = OFF;   -- one fsync at the end serves
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE files (
  id INTEGER PRIMARY KEY,
  path TEXT NOT NULL UNIQUE,
  size INTEGER NOT NULL,    -- bytes
  sha256 BLOB NOT NULL,     -- of the bytes as they were on disk
  lines INTEGER NOT NULL,
  text TEXT NOT NULL
) STRICT;
"""


@dataclass(slots=True)
class BuildSummary:
    """What one build did; `size` is the sum of the indexed texts in bytes."""

    files: int = 0
    size: int = 0
    skipped: Counter[str] = field(default_factory=Counter)


def build_index(root: Path, repository: str, index_dir: Path) -> BuildSummary:
    """Index the files under `root` as `repository` and replace its file in `index_dir`.

    Readers see the old index or the new one, never a part, also after a kill or power loss.

    Raises CodeintelError for an invalid name, or a tree that cannot be listed.
    """
    target = index_path(index_dir, repository)
    tree = open_tree(root)
    index_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    summary = BuildSummary()
    digest = sha256(str(SCHEMA_VERSION).encode())

    def rows() -> Iterator[tuple[str, int, bytes, int, str]]:
        for path, content in read_files(tree):
            if isinstance(content, SkipFileError):
                summary.skipped[str(content)] += 1
                continue
            checksum = sha256(content).digest()
            digest.update(path.encode() + b"\0" + checksum)
            summary.files += 1
            summary.size += len(content)
            text = content.decode()
            lines = text.count("\n") + (text != "" and not text.endswith("\n"))
            yield path, len(content), checksum, lines, text

    _remove_leftovers(index_dir, repository)
    # A private directory: whoever else may write to `index_dir` cannot plant a link in it.
    with tempfile.TemporaryDirectory(prefix=f".{repository}-", dir=index_dir) as temporary:
        built = Path(temporary) / target.name
        database = sqlite3.connect(built)
        try:
            database.executescript(_SCHEMA)
            database.executemany(
                "INSERT INTO files (path, size, sha256, lines, text) VALUES (?, ?, ?, ?, ?)", rows()
            )
            meta = {
                "generation": digest.hexdigest()[:16],
                "commit": tree.commit or "",
                "indexed_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "files": str(summary.files),
                "skipped": json.dumps(dict(sorted(summary.skipped.items()))),
            }
            database.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
            database.commit()
        finally:
            database.close()
        built.chmod(0o644)  # the service reads it as another user
        _fsync(built)
        built.replace(target)
    _fsync(index_dir)
    return summary


def _remove_leftovers(index_dir: Path, repository: str) -> None:
    """Remove what killed builds left behind; a day is longer than any build takes."""
    for leftover in index_dir.glob(f".{repository}-*"):
        if time.time() - leftover.lstat().st_mtime > SECONDS_PER_DAY:
            shutil.rmtree(leftover, ignore_errors=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
