"""Reading parts of indexed files: whole lines only, and never more than an answer holds."""

from codeintel.budget import fit
from codeintel.errors import CodeintelError
from codeintel.store import Index, IndexedFile


def open_file(index: Index, path: str) -> IndexedFile:
    """Return the file at `path`. Raises CodeintelError, with what is known of it, if none is."""
    path = path.removeprefix("./")
    file = index.file(path)
    if file is None and (reason := index.left_out(path)):
        raise CodeintelError(
            f"{path[:120]!r} was left out of the index of {index.info.repository}: {reason}"
        )
    if file is None:
        name = path.rpartition("/")[2]
        similar = [known for known in index.paths() if known.rpartition("/")[2] == name][:3]
        advice = f"did you mean {', '.join(similar)}" if similar else "see the tool files"
        raise CodeintelError(
            f"{path[:120]!r} is not in the index of {index.info.repository}; {advice}"
        )
    return file


def read_lines(file: IndexedFile, start: int, end: int, budget: int) -> tuple[str, int]:
    """Return the lines from `start` on, up to `end` or `budget` characters, and the last number.

    Raises CodeintelError if there are no such lines, or the first one is over the budget.
    """
    if start > max(min(end, file.lines), 1):
        raise CodeintelError(
            f"no such lines; the file has {file.lines} and the first must not be after the last"
        )
    wanted = split_lines(file.text)[start - 1 : end]
    shown = list(fit(wanted, budget))
    if wanted and not shown:
        raise CodeintelError(f"line {start} alone is longer than an answer; use grep for it")
    return "".join(shown), start + max(len(shown), 1) - 1


def split_lines(text: str) -> list[str]:
    """Split at line feeds only: str.splitlines() knows more line ends than editors do."""
    lines = text.split("\n")
    return [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
