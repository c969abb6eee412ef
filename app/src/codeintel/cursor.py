"""Opaque page cursors that belong to one query and one generation of an index."""

import base64
import binascii
import json
from hashlib import sha256

from codeintel.errors import CodeintelError

_ADVICE = "repeat the call without cursor"


def encode_cursor(query: object, generation: str, path: str, line: int = 0) -> str:
    """Return a cursor that continues `query` after `line` (1-based, 0 for none) of `path`."""
    value = json.dumps([_digest(query), generation, path, line], separators=(",", ":"))
    return base64.urlsafe_b64encode(value.encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, query: object, generation: str) -> tuple[str, int]:
    """Return the (path, line) to continue after; ``("", 0)`` without a cursor.

    Raises CodeintelError if the cursor is not ours, or of another query or generation.
    """
    if cursor is None:
        return "", 0
    try:
        value = base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4))
        digest, issued, path, line = json.loads(value)
        if not (isinstance(path, str) and type(line) is int):
            raise ValueError("wrong types")
    except (binascii.Error, ValueError, TypeError, RecursionError) as error:
        raise CodeintelError(f"this is not a cursor of this server; {_ADVICE}") from error
    if digest != _digest(query):
        raise CodeintelError(f"this cursor belongs to another query; {_ADVICE}")
    if issued != generation:
        raise CodeintelError(f"stale cursor: the index was rebuilt since; {_ADVICE}")
    return path, line


def _digest(query: object) -> str:
    return sha256(json.dumps(query).encode()).hexdigest()[:12]
