"""Take turns with another instance: each kind of socket is served by one at a time."""

import asyncio
import fcntl
import os
from pathlib import Path

_LOOK = 0.02  # seconds; a wait in flock(2) would need a thread that nothing can end


class Turns:
    """Locks in a folder that the instances share; systemd hands the same sockets to all of them.

    A lock ends with the process that holds it, however that ends.
    """

    def __init__(self, folder: Path | None, gate: Path | None = None) -> None:
        """Without a `folder` there is no other instance, and nothing to wait for.

        While somebody has locked the `gate`, a file or folder, it is not our turn.
        """
        self._folder = folder
        self._gate = gate
        self._held: dict[str, int] = {}

    async def take(self, kind: str) -> None:
        """Return when no other instance serves `kind`."""
        while not self.try_take(kind):  # noqa: ASYNC110 - what happens is in another process
            await asyncio.sleep(_LOOK)

    def try_take(self, kind: str) -> bool:
        """Say whether it is our turn. Raises OSError where the folder is not ours to write."""
        if self._folder is None or kind in self._held:
            return True
        if self._gate is not None and _is_locked(self._gate):
            return False
        lock = os.open(self._folder / f"{kind}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._held[kind] = lock
        return True

    def pass_on(self, kind: str) -> None:
        """Let another instance serve `kind`."""
        if (lock := self._held.pop(kind, None)) is not None:
            fcntl.flock(lock, fcntl.LOCK_UN)  # a forked child may have the descriptor, too
            os.close(lock)


def _is_locked(path: Path) -> bool:
    """Say whether somebody else holds the lock of a file or folder."""
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(opened)
