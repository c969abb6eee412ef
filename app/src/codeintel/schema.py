"""The tables of an index file; store.py reads them and indexer.py writes them."""

APPLICATION_ID = 0x63_69_64_78  # "cidx"
SCHEMA_VERSION = 3

ROWS_PER_FILE = 1 << 20
"""The n-th chunk, symbol or ref of file f has the id ``f * ROWS_PER_FILE + n``, so that
``id >> 20`` is its file, and the rows of a file are one range of ids."""

SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE files (
  id INTEGER PRIMARY KEY,
  path TEXT NOT NULL UNIQUE,
  language TEXT,
  size INTEGER NOT NULL,      -- bytes
  sha256 BLOB NOT NULL,       -- of the bytes as they were on disk
  lines INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL,  -- 0 when it was too fresh to be trusted
  inode INTEGER NOT NULL
) STRICT;
CREATE TABLE skipped (
  path TEXT PRIMARY KEY,
  reason TEXT NOT NULL,
  size INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL,
  inode INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE texts (file INTEGER PRIMARY KEY, text BLOB NOT NULL) STRICT;  -- zstd
CREATE TABLE symbols (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  line INTEGER NOT NULL,      -- 1-based, as all lines
  end_line INTEGER NOT NULL,
  container TEXT,
  signature TEXT NOT NULL
) STRICT;
CREATE INDEX symbols_by_name ON symbols (name COLLATE NOCASE);
CREATE TABLE refs (           -- what the grammar knows of a name's uses in a file
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  lines TEXT NOT NULL         -- joined by spaces
) STRICT;
CREATE INDEX refs_by_name ON refs (name);
CREATE TABLE chunks (
  id INTEGER PRIMARY KEY,
  line INTEGER NOT NULL,
  end_line INTEGER NOT NULL,
  symbol TEXT                 -- qualified by its containers
) STRICT;
CREATE TABLE scip_symbols (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  qualified TEXT NOT NULL UNIQUE  -- by module and containers, joined by dots
) STRICT;
CREATE INDEX scip_symbols_by_name ON scip_symbols (name);
CREATE TABLE occurrences (    -- of SCIP's symbols
  symbol INTEGER NOT NULL,
  file INTEGER NOT NULL,
  line INTEGER NOT NULL,
  role TEXT NOT NULL,
  PRIMARY KEY (symbol, file, line, role)
) STRICT, WITHOUT ROWID;
CREATE TABLE vectors (file INTEGER PRIMARY KEY, packed BLOB NOT NULL) STRICT;  -- of its chunks
-- No phrases, so a pattern is the AND of its trigrams; folds case.
CREATE VIRTUAL TABLE trigrams USING fts5(
  text, content='', columnsize=0, detail=none, tokenize='trigram'
);
CREATE VIRTUAL TABLE ranks USING fts5(
  path, symbol, body, content='', tokenize="porter unicode61 tokenchars '_'"
);
"""
