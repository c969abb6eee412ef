"""The owner's password: kept as a scrypt hash, and never anywhere else."""

import base64
import hashlib
import hmac
import secrets

from codeintel.errors import CodeintelError

_N, _R, _P = 1 << 15, 8, 3
"""Cost of a hash: 32 MiB, and a tenth of a second on a server's core."""

_MAX_N, _MAX_R, _MAX_P = 1 << 17, 16, 8
_SALT_BYTES = 16
_KEY_BYTES = 32
MIN_LENGTH = 12
"""Shortest password. Guesses are few, but its owner may have used it elsewhere."""


def hash_password(password: str) -> str:
    """Return ``scrypt:N:R:P:SALT:KEY``. Raises CodeintelError for a short password."""
    if len(password) < MIN_LENGTH:
        raise CodeintelError(f"the password needs {MIN_LENGTH} characters")
    salt = secrets.token_bytes(_SALT_BYTES)
    key = _derive(password, salt, _N, _R, _P, _KEY_BYTES)
    return f"scrypt:{_N}:{_R}:{_P}:{_encode(salt)}:{_encode(key)}"


def is_password(password: str, hashed: str) -> bool:
    """Say whether `hashed` is of `password`; takes about a tenth of a second.

    Raises CodeintelError if `hashed` is not what `hash_password` returns.
    """
    n, r, p, salt, key = _parse(hashed)
    return hmac.compare_digest(_derive(password, salt, n, r, p, len(key)), key)


def check_hash(hashed: str) -> None:
    """Raise CodeintelError if `hashed` is not what `hash_password` returns."""
    _parse(hashed)


def _derive(password: str, salt: bytes, n: int, r: int, p: int, length: int) -> bytes:  # noqa: PLR0913, PLR0917
    memory = 256 * n * r  # twice what scrypt takes
    return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=memory, dklen=length)


def _parse(hashed: str) -> tuple[int, int, int, bytes, bytes]:
    try:
        name, n, r, p, salt, key = hashed.strip().split(":")
        cost = int(n), int(r), int(p)
        parts = _decode(salt), _decode(key)
    except ValueError:
        name, cost, parts = "", (0, 0, 0), (b"", b"")
    sane = all(0 < c <= m for c, m in zip(cost, (_MAX_N, _MAX_R, _MAX_P), strict=True))
    if name != "scrypt" or not sane or cost[0] & (cost[0] - 1) or len(parts[1]) < _KEY_BYTES:
        raise CodeintelError("this is no hash of a password; make one with: codeintel password")
    return *cost, *parts


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
