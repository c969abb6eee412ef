"""Path globs as ripgrep and .gitignore users know them, compiled to RE2 (linear time)."""

from collections.abc import Callable

from codeintel.errors import CodeintelError
from codeintel.regex import InvalidPatternError, compile_regex, escape


def compile_glob(glob: str) -> Callable[[str], bool]:
    """Return a predicate over repository paths.

    ``*`` and ``?`` stay within one directory, ``**`` crosses directories, ``[...]`` is a
    character class, and a glob without a slash matches the file name at any depth.

    Raises CodeintelError for a glob that does not compile.
    """
    glob = glob.removeprefix("./").removeprefix("/")
    if "/" not in glob:
        glob = f"**/{glob}"
    try:
        compiled = compile_regex("".join(_translate(glob)).encode())
    except InvalidPatternError as error:
        raise CodeintelError(
            f"invalid glob {glob[:80]!r}; use *, ?, ** and [...] as in src/**/*.py"
        ) from error
    return lambda path: compiled.fullmatch(path.encode()) is not None


def _translate(glob: str) -> list[str]:
    parts: list[str] = []
    at = 0
    while at < len(glob):
        if glob.startswith("**/", at):
            parts.append("(?:.*/)?")
            at += 3
        elif glob.startswith("**", at):
            parts.append(".*")
            at += 2
        elif glob[at] in "*?":
            parts.append("[^/]*" if glob[at] == "*" else "[^/]")
            at += 1
        elif glob[at] == "[" and (end := glob.find("]", at + 2)) > 0:
            negated = glob[at + 1] in "!^"
            members = glob[at + 1 + negated : end].replace("\\", "\\\\").replace("[", "\\[")
            parts.append(f"[^/{members}]" if negated else f"[{members}]")
            at = end + 1
        else:
            parts.append(escape(glob[at]))
            at += 1
    return parts
