"""Finding out what works here, what does not and why, for people and for a deployment."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import Literal

from codeintel import languages
from codeintel.context import ApplicationContext, Capabilities, age_seconds
from codeintel.errors import CodeintelError
from codeintel.sources import open_tree


class Verdict(IntEnum):
    """Exit codes; 2 is what the command line says of wrong arguments."""

    GOOD = 0
    BROKEN = 1
    NOTHING_INDEXED = 3


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; what is off may be meant so, what is broken may not."""

    state: Literal["ok", "off", "broken"]
    name: str
    detail: str | None = None

    def __str__(self) -> str:
        """Return a line for people."""
        return f"{self.state:<7} {self.name}" + (f": {self.detail}" if self.detail else "")


def diagnose(context: ApplicationContext, trees: Sequence[Path]) -> Iterator[Check]:
    """Look at the indexes, at what building them takes, and at the source `trees`."""
    git = shutil.which("git")
    yield Check("ok", "git", git) if git else Check("off", "git", "not installed; install git")
    yield _grammars()
    for tree in trees:
        try:
            found = open_tree(tree)
        except CodeintelError as error:
            yield Check("broken", f"tree {tree}", str(error))
        else:
            files = f"{len(found.paths)} files, commit {found.commit or 'unknown'}"
            yield Check("ok", f"tree {tree}", files)
    indexes = context.indexes.scan()
    if not indexes.readable:
        yield Check("broken", "indexes", f"{indexes.reason}: {context.settings.index_dir}")
    for name, info in indexes.ready.items():
        age = timedelta(seconds=age_seconds(info))
        detail = f"{info.files} files, {info.symbols} symbols, commit {info.commit or 'unknown'}"
        yield Check("ok", f"index {name}", f"{detail}, {age} old")
    for name, reason in indexes.broken.items():
        yield Check("broken", f"index {name}", reason)
    context.encoder.load()
    if context.settings.model_dir is not None and context.encoder.reason is not None:
        yield Check("broken", "model", context.encoder.reason)
    for name, capability in Capabilities.of(context):
        yield Check("ok" if capability.on else "off", name, capability.reason)


def verdict(context: ApplicationContext, checks: Iterable[Check]) -> Verdict:
    """Return what `checks` amount to."""
    if any(check.state == "broken" for check in checks):
        return Verdict.BROKEN
    return Verdict.GOOD if context.indexes.scan().ready else Verdict.NOTHING_INDEXED


def _grammars() -> Check:
    """Load every grammar: what can be found may still not fit."""
    missing = []
    for language in languages.GRAMMARS:
        try:
            languages.grammar(language)
        except (ImportError, AttributeError, ValueError):
            missing.append(language)
    if missing:
        advice = "install codeintel again, with what it depends on"
        return Check("broken", "grammars", f"none works for {', '.join(missing)}; {advice}")
    return Check("ok", "grammars", ", ".join(languages.GRAMMARS))
