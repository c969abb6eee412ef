"""Tokens with a name, for command-line clients: made by the owner in the shell."""

import re
import secrets
import sqlite3
import time
from contextlib import suppress
from dataclasses import dataclass

from fastmcp.server.auth import AccessToken, TokenVerifier

from codeintel.auth.store import AuthStore, digest
from codeintel.errors import CodeintelError

PREFIX = "cit_"
"""So that people and secret scanners know one when they see it."""

USE_NOTED_EVERY = 60
"""Seconds between two notes of the last use."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_AGE = re.compile(r"([1-9][0-9]{0,5})([hdw])")
_SECONDS = {"h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True)
class NamedToken:
    """What is known of a token; times are seconds since the epoch, None is never."""

    name: str
    created: int
    expires: int | None
    used: int | None


def parse_age(text: str) -> int:
    """Return the seconds of ``12h``, ``90d`` or ``6w``. Raises CodeintelError for anything else."""
    found = _AGE.fullmatch(text)
    if found is None:
        raise CodeintelError(f"{text[:40]!r} is no time; write 12h, 90d or 6w")
    return int(found[1]) * _SECONDS[found[2]]


def add_token(store: AuthStore, name: str, seconds: int | None) -> str:
    """Return a new token called `name`, which is never shown again, valid for `seconds`.

    Raises CodeintelError if the name is taken or not fit for one.
    """
    if not _NAME.fullmatch(name):
        raise CodeintelError(f"{name[:80]!r} is no name; use up to 64 of A-Z a-z 0-9 . _ @ -")
    token = PREFIX + secrets.token_urlsafe(32)
    now = int(time.time())
    row = (name, digest(token), now, None if seconds is None else now + seconds, None)
    try:
        store.database.execute("INSERT INTO named_tokens VALUES (?, ?, ?, ?, ?)", row)
    except sqlite3.IntegrityError:
        raise CodeintelError(f"there is a token {name} already; revoke it first") from None
    return token


def list_tokens(store: AuthStore) -> list[NamedToken]:
    """Return all tokens by name."""
    query = "SELECT name, created, expires, used FROM named_tokens ORDER BY name"
    return [NamedToken(*row) for row in store.database.execute(query)]


def revoke_token(store: AuthStore, name: str) -> None:
    """End the token called `name`. Raises CodeintelError if there is none."""
    done = store.database.execute("DELETE FROM named_tokens WHERE name = ?", (name,))
    if not done.rowcount:
        known = ", ".join(token.name for token in list_tokens(store)) or "none"
        raise CodeintelError(f"there is no token {name[:80]!r}; there are: {known}")


class NamedTokens(TokenVerifier):
    """Lets in who has a token with a name."""

    def __init__(self, store: AuthStore, base_url: str) -> None:
        """Verify against `store`; `base_url` is the origin of the server."""
        super().__init__(base_url=base_url)
        self._store = store

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return whose the token is; None for one that is unknown or over."""
        hashed, now = digest(token), int(time.time())
        query = "SELECT name, expires, used FROM named_tokens WHERE hash = ?"
        row = self._store.database.execute(query, (hashed,)).fetchone()
        if row is None:
            return None
        name, expires, used = row
        if expires is not None and expires <= now:
            return None
        if used is None or used + USE_NOTED_EVERY <= now:
            update = "UPDATE named_tokens SET used = ? WHERE hash = ?"
            # The note is a nicety: on a full disk, or behind a long write, the token is good still.
            with suppress(sqlite3.OperationalError):
                self._store.database.execute(update, (now, hashed))
        return AccessToken(token=token, client_id=name, scopes=[], expires_at=expires)
