"""What the mode `oidc` keeps in the state directory: a secret, and sessions that it seals."""

import secrets
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from codeintel.errors import CodeintelError

SECRET_BYTES = 32


def open_folder(state_dir: Path) -> Path:
    """Return the folder, which nobody else may look into; make it if need be."""
    folder = state_dir / "oidc"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    sessions_in(folder).mkdir(mode=0o700, exist_ok=True)
    return folder


def sessions_in(folder: Path) -> Path:
    """Return where FastMCP keeps what it remembers."""
    return folder / "sessions"


def read_secret(folder: Path) -> str:
    """Return the secret; make it if need be. Raises CodeintelError if it is damaged."""
    file = folder / "secret"
    if not file.exists():
        with NamedTemporaryFile("w", dir=folder) as fresh:
            fresh.write(secrets.token_urlsafe(SECRET_BYTES))
            fresh.flush()
            with suppress(FileExistsError):  # another instance was faster
                file.hardlink_to(fresh.name)
    secret = file.read_text()
    if len(secret) < SECRET_BYTES:
        raise CodeintelError(f"{file} is damaged; remove it, and all have to sign in again")
    return secret


def end_sessions(state_dir: Path) -> int:
    """End all sessions, of a running server too; return how many there were. Clients stay."""
    folder = sessions_in(state_dir / "oidc")
    for code in folder.glob("*authorization_codes*/*.json"):
        code.unlink(missing_ok=True)
    sessions = list(folder.glob("*upstream_tokens*/*.json"))
    for session in sessions:
        session.unlink(missing_ok=True)
    return len(sessions)
