# Copyright: (c) 2026, codeintel.mcp_edge contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A source tree as one archive that is the same to the byte wherever and whenever it is made."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

# What tools leave beside a project's sources. Hidden files and folders are left out as well.
LEFT_OUT = frozenset({"__pycache__", "build", "dist", "node_modules", "venv"})


def sources(root: Path) -> Iterator[Path]:
    """Yield the regular files below the root that belong to the project, in a fixed order."""
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if _belongs(f))
        for name in sorted(files):
            path = Path(folder, name)
            if _belongs(name) and not path.is_symlink() and path.is_file():
                yield path


def _belongs(name: str) -> bool:
    return not (name in LEFT_OUT or name.startswith(".") or name.endswith((".egg-info", ".pyc")))


def pack(root: Path, target: IO[bytes]) -> None:
    """Write the project's files to the target as tar: content and executable bit, nothing else.

    Their folders are in it too: those that tar itself makes are left to the umask of who unpacks.
    """
    folders: set[Path] = set()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sources(root):
            name = path.relative_to(root)
            for folder in sorted(set(name.parents) - folders - {Path()}):
                folders.add(folder)
                entry = tarfile.TarInfo(folder.as_posix())
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
            entry = tarfile.TarInfo(name.as_posix())
            status = path.stat()
            entry.size = status.st_size
            entry.mode = 0o755 if status.st_mode & 0o100 else 0o644
            with path.open("rb") as content:
                archive.addfile(entry, content)
