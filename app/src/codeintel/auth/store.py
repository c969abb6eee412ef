"""What authentication remembers: one SQLite file that holds no token, only hashes of them."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from codeintel.errors import CodeintelError

FILE = "auth.sqlite"

MAX_STRANGERS = 1_000
"""Clients that have registered and were never let in. Anybody may register: the oldest give way.

It is the oldest of the network that has most of them: a flood from one place harms none elsewhere.
"""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS clients (
  id TEXT PRIMARY KEY,
  info TEXT NOT NULL,        -- what it registered, as JSON
  created INTEGER NOT NULL,  -- seconds since the epoch, as all times
  admitted INTEGER,          -- when the owner let it in last
  network TEXT               -- where it registered
) STRICT;
CREATE TABLE IF NOT EXISTS codes (
  hash BLOB PRIMARY KEY,
  about TEXT NOT NULL,
  family TEXT NOT NULL,      -- of the tokens that come of it
  expires INTEGER NOT NULL,
  spent INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS tokens (
  hash BLOB PRIMARY KEY,
  kind TEXT NOT NULL,        -- access or refresh
  family TEXT NOT NULL,
  client TEXT NOT NULL,
  scopes TEXT NOT NULL,
  resource TEXT,
  expires INTEGER NOT NULL,
  spent INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS tokens_by_family ON tokens (family);
CREATE TABLE IF NOT EXISTS named_tokens (
  name TEXT PRIMARY KEY,
  hash BLOB NOT NULL UNIQUE,
  created INTEGER NOT NULL,
  expires INTEGER,
  used INTEGER
) STRICT;
"""


def digest(token: str) -> bytes:
    """Return what is kept of a token; it is random and long, so that no salt is needed."""
    return sha256(token.encode()).digest()


class AuthStore:
    """The file in the state directory; several processes may have it open."""

    def __init__(self, state_dir: Path) -> None:
        """Open it, or make it. Raises CodeintelError if that is not possible."""
        file = state_dir / FILE
        try:
            state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
            file.touch(mode=0o600)
            # Committed at once, and safe in a power cut but for the last moments.
            self.database = sqlite3.connect(
                file, isolation_level=None, timeout=5, check_same_thread=False
            )
            self.database.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")
            self.database.executescript(_SCHEMA)
            with suppress(sqlite3.OperationalError):  # only an older release has made it without
                self.database.execute("ALTER TABLE clients ADD COLUMN network TEXT")
        except (OSError, sqlite3.Error) as error:
            raise CodeintelError(
                f"{file} cannot be opened: {error}; give a folder that may be written with"
                " CODEINTEL_STATE_DIR"
            ) from error
        self._swept = 0.0

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Change several things together, or nothing."""
        self.database.execute("BEGIN IMMEDIATE")
        try:
            yield self.database
        except BaseException:
            self.database.execute("ROLLBACK")
            raise
        self.database.execute("COMMIT")

    def secret(self, key: str, made: bytes) -> bytes:
        """Return what is kept under `key`: `made`, the first time."""
        self.database.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, made))
        query = "SELECT value FROM meta WHERE key = ?"
        value: bytes = self.database.execute(query, (key,)).fetchone()[0]
        return value

    def sweep(self) -> None:
        """Forget what has expired, once a minute at most."""
        now = time.time()
        if now < self._swept + 60:
            return
        self._swept = now
        self.database.execute("DELETE FROM codes WHERE expires < ?", (int(now),))
        self.database.execute("DELETE FROM tokens WHERE expires < ?", (int(now),))
        self.database.execute(
            "DELETE FROM clients WHERE id IN (SELECT id FROM clients WHERE admitted IS NULL"
            " ORDER BY row_number() OVER (PARTITION BY network ORDER BY created DESC, rowid DESC),"
            " created DESC LIMIT -1 OFFSET ?)",
            (MAX_STRANGERS,),
        )

    def end_family(self, family: str) -> None:
        """End all tokens that came of one consent."""
        self.database.execute("DELETE FROM tokens WHERE family = ?", (family,))

    def end_sessions(self) -> int:
        """End all tokens and codes of clients; return how many consents they came of."""
        with self.transaction() as database:
            query = "SELECT count(DISTINCT family) FROM tokens"
            ended: int = database.execute(query).fetchone()[0]
            database.execute("DELETE FROM tokens")
            database.execute("DELETE FROM codes")
        return ended
