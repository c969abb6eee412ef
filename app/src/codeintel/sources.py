"""List and read the files of a repository without following a link or running its code."""

import os
import stat
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from codeintel.errors import CodeintelError
from codeintel.sensitive import has_secret_content, is_secret_name

MAX_FILE_BYTES = 1 << 20
"""Larger files are data or generated code far more often than something to read."""

_VCS_DIRECTORIES = {".git", ".hg", ".svn"}
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
# A repository's own configuration may name commands; these are the ones ls-files would run.
_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")


class SkipFileError(Exception):
    """A file that is not indexed; the message is the reason under which it is counted."""


@dataclass(frozen=True, slots=True)
class SourceTree:
    """The files of one repository: paths relative to `root`, and the commit if there is one."""

    root: Path
    paths: tuple[str, ...]
    commit: str | None


def open_tree(root: Path) -> SourceTree:
    """List the files under `root`: by git in a work tree, by walking the directories elsewhere.

    Raises CodeintelError if `root` is no directory, or git refuses or lists nothing.
    """
    root = root.resolve()
    if not root.is_dir():
        raise CodeintelError(f"{root} is not a directory; give the root of a source tree")
    if (root / "HEAD").is_file() and (root / "objects").is_dir():
        raise CodeintelError(f"{root} is a bare git repository; give a work tree of it")
    if not any((parent / ".git").exists() for parent in (root, *root.parents)):
        return SourceTree(root, tuple(sorted(_walk(root))), None)
    listing = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    # Undecodable names stay recognisable: read_file() counts them instead of losing them.
    paths = {os.fsdecode(name) for name in listing.split(b"\0") if name}
    if not paths:
        raise CodeintelError(
            f"git lists no file under {root}; is it ignored, or owned by another user?"
        )
    return SourceTree(root, tuple(sorted(paths)), _head(root))


def read_files(tree: SourceTree) -> Iterator[tuple[str, bytes | SkipFileError]]:
    """Yield each path with its content, or with the reason why it is skipped."""
    root = os.open(tree.root, _OPEN | os.O_DIRECTORY)
    try:
        for path in tree.paths:
            try:
                yield path, read_file(root, path)
            except SkipFileError as reason:
                yield path, reason
    finally:
        os.close(root)


def read_file(root: int, path: str) -> bytes:
    """Return the content of the text file `path` below the directory descriptor `root`.

    Raises SkipFileError for anything but a regular, small, harmless UTF-8 text file.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        raise SkipFileError("not_utf8") from None
    if is_secret_name(path):
        raise SkipFileError("secret")
    try:
        descriptor = _open_beneath(root, path.split("/"))
    except FileNotFoundError:
        raise SkipFileError("missing") from None
    except OSError:
        raise SkipFileError("unreadable") from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SkipFileError("not_a_file")
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise SkipFileError("too_large")
    if b"\0" in data:
        raise SkipFileError("binary")
    try:
        data.decode()
    except UnicodeDecodeError:
        raise SkipFileError("not_utf8") from None
    if has_secret_content(data):
        raise SkipFileError("secret")
    return data


def _open_beneath(root: int, parts: list[str]) -> int:
    """Open a file component by component, so that no directory on the way is a link either."""
    if not all(part not in {"", ".", ".."} for part in parts):
        raise SkipFileError("not_a_file")
    parent = os.dup(root)
    try:
        for part in parts[:-1]:
            _refuse_link(part, parent)
            child = os.open(part, _OPEN | os.O_DIRECTORY, dir_fd=parent)
            os.close(parent)
            parent = child
        _refuse_link(parts[-1], parent)
        # A pipe without a writer would block the open for ever.
        return os.open(parts[-1], _OPEN | os.O_NONBLOCK, dir_fd=parent)
    finally:
        os.close(parent)


def _refuse_link(name: str, parent: int) -> None:
    # Only names the reason; O_NOFOLLOW is what makes a link that appears later fail.
    if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        raise SkipFileError("symlink")


def _walk(root: Path) -> Iterable[str]:
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if name not in _VCS_DIRECTORIES]
        for name in files:
            yield os.path.relpath(os.path.join(directory, name), root)  # noqa: PTH118 (speed)


def _git(root: Path, *arguments: str) -> bytes:
    # GIT_DIR and its like would point git at another repository than `root`.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(  # noqa: S603 (fixed program, no shell)
            [*_GIT, "-C", str(root), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise CodeintelError(f"{root} is a git work tree, but git is not installed") from None
    if done.returncode == 0:
        return done.stdout
    complaint = done.stderr.decode(errors="replace").strip().partition("\n")[0]
    if "dubious ownership" in complaint:
        raise CodeintelError(
            f"git refuses {root} because another user (uid {root.stat().st_uid}) owns it; "
            f"run this as that user, or: git config --global --add safe.directory {root}"
        )
    raise CodeintelError(f"git cannot list {root}: {complaint}")


def _head(root: Path) -> str | None:
    try:
        return _git(root, "rev-parse", "--verify", "--quiet", "HEAD").decode().strip()
    except CodeintelError:  # no commit yet
        return None
