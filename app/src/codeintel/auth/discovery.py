"""What an identity provider says of itself, asked for at the start and remembered for the next."""

import json
import logging
import os
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import httpx2

from codeintel.auth.redirects import is_loopback
from codeintel.errors import CodeintelError

SECONDS = 10.0
"""How long a start waits for the provider, in all."""

PATH = "/.well-known/openid-configuration"

NEEDED = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri")

WELCOME = ("userinfo_endpoint", "revocation_endpoint")

logger = logging.getLogger(__name__)


def discover(issuer: str, memory: Path, seconds: float = SECONDS) -> dict[str, Any]:
    """Return the provider's metadata, from `memory` when it gives none now.

    So that the service can restart while the provider is down: who is signed in goes on.
    Raises CodeintelError when there are none, with the reason.
    """
    if not _is_safe(issuer):
        raise CodeintelError(f"the issuer {issuer!r} must be an https:// address")
    try:
        metadata = _checked(issuer, _fetch(f"{issuer.rstrip('/')}{PATH}", seconds))
    except CodeintelError as error:
        remembered = _remembered(issuer, memory)
        if remembered is None:
            raise
        logger.warning("%s; going on with what it said at an earlier start", error)
        return remembered
    _remember(metadata, memory)
    return metadata


def _fetch(url: str, seconds: float) -> Any:  # noqa: ANN401 (what the provider says)
    answers: list[Any] = []

    def ask() -> None:
        try:
            response = httpx2.get(url, timeout=seconds, headers={"Accept": "application/json"})
            if response.status_code == httpx2.codes.OK:
                answers.append(response.json())
            else:
                answers.append(CodeintelError(f"{url} answers {response.status_code}"))
        except ValueError:
            answers.append(CodeintelError(f"{url} does not answer with JSON"))
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            answers.append(CodeintelError(f"{url} does not answer: {error}"))

    # A timeout of the client is for each read, and none is for the look-up of the name.
    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    if not answers:
        raise CodeintelError(f"{url} does not answer within {seconds:g} s")
    if isinstance(answers[0], CodeintelError):
        raise answers[0]
    return answers[0]


def _checked(issuer: str, metadata: Any) -> dict[str, Any]:  # noqa: ANN401
    if not isinstance(metadata, dict):
        raise CodeintelError(f"{issuer} says nothing of itself that is a JSON object")
    for name in NEEDED + WELCOME:
        value = metadata.get(name)
        if not value and name in WELCOME:
            continue
        if not isinstance(value, str) or not value:
            raise CodeintelError(f"the provider at {issuer} does not say its {name}")
        if not _is_safe(value):
            raise CodeintelError(f"the {name} {value!r} of {issuer} must be an https:// address")
    # Some write a slash behind it. Tokens are compared with what the provider writes.
    if metadata["issuer"].rstrip("/") != issuer.rstrip("/"):
        raise CodeintelError(f"the provider at {issuer} calls itself {metadata['issuer']}")
    return metadata


def _is_safe(url: str) -> bool:
    """Say whether a secret may be sent there."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for what is none
    except ValueError:
        return False
    return (parts.scheme == "https" and bool(parts.hostname)) or is_loopback(url)


def _remembered(issuer: str, memory: Path) -> dict[str, Any] | None:
    try:
        return _checked(issuer, json.loads(memory.read_bytes()))
    except (OSError, ValueError, CodeintelError):
        return None


def _remember(metadata: dict[str, Any], memory: Path) -> None:
    with NamedTemporaryFile("w", dir=memory.parent, delete=False) as file:
        json.dump(metadata, file)
    os.replace(file.name, memory)  # noqa: PTH105 (as the name says)
