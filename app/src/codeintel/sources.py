"""List and read the files of a repository without following a link or running its code."""

import os
import re
import stat
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from codeintel.errors import CodeintelError
from codeintel.sensitive import has_secret_content, is_secret_name

MAX_FILE_BYTES = 1 << 20
"""Larger files are data or generated code far more often than something to read."""

FRESH_NS = 2_000_000_000
"""A file that changed this recently may change again without a new time stamp."""

_GENERATED_NAME = re.compile(r"\.min\.(?:js|css)$|\.(?:js|css|ts)\.map$")
_GENERATED = re.compile(rb"^\W*(?:Code generated .* DO NOT EDIT\.?|@generated\b.*)$", re.MULTILINE)
_GENERATED_HEAD = 1000  # bytes in which a generator says so
_SCP = re.compile(r"[\w.-]+@[\w.-]+:(?!//)\S+")  # git@host:path; nobody's password
_VCS_DIRECTORIES = {".git", ".hg", ".svn"}
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
# A repository's own configuration may name commands; these are the ones ls-files would run.
_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")


class SkipFileError(Exception):
    """A file that is not indexed; the message is the reason under which it is counted."""


@dataclass(frozen=True, slots=True)
class SourceTree:
    """The files of one repository: paths relative to `root`, and the commit if there is one.

    `remote` is the address of the origin, without the credentials that it may hold, and `prefix`
    the way from the top of its work tree to `root`.
    """

    root: Path
    paths: tuple[str, ...]
    commit: str | None
    remote: str | None
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class FileState:
    """What changes when a file does; `mtime_ns` is 0 when it is too recent to be trusted."""

    size: int = 0
    mtime_ns: int = 0
    inode: int = 0


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A path with its content, or the reason to skip it, or None when its state is known."""

    path: str
    state: FileState
    content: bytes | SkipFileError | None


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
        return SourceTree(root, tuple(sorted(_walk(root))), None, None)
    listing = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    # Undecodable names stay recognisable: read_file() counts them instead of losing them.
    paths = {os.fsdecode(name) for name in listing.split(b"\0") if name}
    untouched = all(one.name == ".git" for one in root.iterdir())
    if not (paths or untouched):
        raise CodeintelError(
            f"git lists no file under {root}; is it ignored, or owned by another user?"
        )
    prefix = os.fsdecode(_git(root, "rev-parse", "--show-prefix").rstrip(b"\n"))
    return SourceTree(root, tuple(sorted(paths)), _head(root), _remote(root), prefix)


def read_files(tree: SourceTree, known: Mapping[str, FileState]) -> Iterator[SourceFile]:
    """Yield every file of `tree`; those whose state is the `known` one are not read."""
    with _Beneath(tree.root) as beneath:
        for path in tree.paths:
            state = FileState()
            try:
                parent, name = beneath.locate(path)
                state = _state(parent, name)
                unchanged = state == known.get(path)
                content = None if unchanged else _read(path, parent, name)
                if time.time_ns() - state.mtime_ns < FRESH_NS:
                    state = FileState(state.size, 0, state.inode)
                yield SourceFile(path, state, content)
            except SkipFileError as reason:
                yield SourceFile(path, state, reason)


class _Beneath:
    """Opens directories component by component, so that none on the way is a link.

    Keeps the last one open, as paths come sorted.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, _OPEN | os.O_DIRECTORY)
        self._open: list[tuple[str, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        for _, descriptor in self._open:
            os.close(descriptor)
        os.close(self._root)

    def locate(self, path: str) -> tuple[int, str]:
        """Return the descriptor of the directory of `path` and its name there.

        Raises SkipFileError when there is no way to it, or its name is not fit for an index.
        """
        try:
            path.encode()
        except UnicodeEncodeError:
            raise SkipFileError("not_utf8") from None
        if is_secret_name(path):
            raise SkipFileError("secret")
        *directories, name = path.split("/")
        if not all(part not in {"", ".", ".."} for part in (*directories, name)):
            raise SkipFileError("not_a_file")
        same = 0
        for (opened, _), wanted in zip(self._open, directories, strict=False):
            if opened != wanted:
                break
            same += 1
        while len(self._open) > same:
            os.close(self._open.pop()[1])
        for directory in directories[same:]:
            parent = self._parent()
            _state(parent, directory, directory=True)
            with _skipping():
                child = os.open(directory, _OPEN | os.O_DIRECTORY, dir_fd=parent)
            self._open.append((directory, child))
        return self._parent(), name

    def _parent(self) -> int:
        return self._open[-1][1] if self._open else self._root


def _state(parent: int, name: str, *, directory: bool = False) -> FileState:
    # Only names the reason; O_NOFOLLOW is what makes a link that appears later fail.
    try:  # not _skipping(), as this is most of the time that an unchanged tree takes
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        raise SkipFileError("missing") from None
    except OSError:
        raise SkipFileError("unreadable") from None
    if stat.S_ISLNK(found.st_mode):
        raise SkipFileError("symlink")
    if not (directory or stat.S_ISREG(found.st_mode)):
        raise SkipFileError("not_a_file")
    return FileState(found.st_size, found.st_mtime_ns, found.st_ino)


@contextmanager
def _skipping() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise SkipFileError("missing") from None
    except OSError:
        raise SkipFileError("unreadable") from None


def _read(path: str, parent: int, name: str) -> bytes:
    """Return the content of a text file.

    Raises SkipFileError for anything but a regular, small, harmless UTF-8 text file.
    """
    if _GENERATED_NAME.search(path):
        raise SkipFileError("generated")
    with _skipping():
        # A pipe without a writer would block the open for ever.
        descriptor = os.open(name, _OPEN | os.O_NONBLOCK, dir_fd=parent)
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
    if _GENERATED.search(data, 0, _GENERATED_HEAD):
        raise SkipFileError("generated")
    return data


def _walk(root: Path) -> Iterable[str]:
    top = len(str(root).rstrip("/")) + 1
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if name not in _VCS_DIRECTORIES]
        below = f"{directory.rstrip('/')}/"[top:]
        for name in files:
            yield below + name


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
        found = re.search(r"'(/.*)'", complaint)
        top = Path(found[1]) if found else root
        raise CodeintelError(
            f"git refuses {top} because another user (uid {top.stat().st_uid}) owns it; "
            f"run this as that user, or: git config --global --add safe.directory {top}"
        )
    raise CodeintelError(f"git cannot list {root}: {complaint}")


def _head(root: Path) -> str | None:
    try:
        return _git(root, "rev-parse", "--verify", "--quiet", "HEAD").decode().strip()
    except CodeintelError:  # no commit yet
        return None


def _remote(root: Path) -> str | None:
    try:
        url = _git(root, "config", "--get", "remote.origin.url").decode().strip()
    except (CodeintelError, UnicodeDecodeError):  # there is none
        return None
    if _SCP.fullmatch(url):
        return url
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for a password with a slash, which ends the host
    except ValueError:
        return None
    # A path of this machine is nobody's business, and a query may hold a token.
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path}" if parts.scheme and place else None
