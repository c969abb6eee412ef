"""The query language of `search`: words, and the filters path: lang: repo: kind: among them."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from codeintel.errors import CodeintelError
from codeintel.globs import compile_glob

# Not path::join, which is Rust and a word like any other.
_FILTER = re.compile(r"(?<!\S)(path|lang|repo|kind):(?!:)(\S+)")

_LANGUAGES = {
    **{"py": "python", "js": "javascript", "jsx": "javascript", "ts": "typescript"},
    **{"golang": "go", "rs": "rust", "rb": "ruby", "c++": "cpp", "cxx": "cpp"},
    **{"cs": "csharp", "c#": "csharp", "sh": "bash", "shell": "bash"},
}


@dataclass(frozen=True, slots=True)
class Query:
    """What a query asks for; each filter holds alternatives and is empty when not given."""

    text: str
    paths: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    repositories: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


def parse_query(query: str) -> Query:
    """Take the filters out of `query`. Raises CodeintelError when no words are left."""
    found: dict[str, list[str]] = {"path": [], "lang": [], "repo": [], "kind": []}
    for name, value in _FILTER.findall(query):
        found[name].append(value)
    text = " ".join(_FILTER.sub(" ", query).split())
    if not text:
        raise CodeintelError(
            "the query has no words to rank by; add some, or list paths with files"
        )
    languages = (value.lower() for value in found["lang"])
    return Query(
        text=text,
        paths=tuple(found["path"]),
        languages=tuple(_LANGUAGES.get(value, value) for value in languages),
        repositories=tuple(dict.fromkeys(found["repo"])),
        kinds=tuple(value.lower() for value in found["kind"]),
    )


def path_filter(patterns: tuple[str, ...]) -> Callable[[str], bool] | None:
    """Return a predicate: a path matches one of the globs, or contains one that has no wildcard.

    None when there are none, and so all paths match.

    Raises CodeintelError for a glob that does not compile.
    """
    tests = [
        compile_glob(pattern) if any(mark in pattern for mark in "*?[") else _contains(pattern)
        for pattern in patterns
    ]
    return (lambda path: any(test(path) for test in tests)) if tests else None


def _contains(part: str) -> Callable[[str], bool]:
    wanted = part.lower()
    return lambda path: wanted in path.lower()
