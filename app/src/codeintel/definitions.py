"""Finding and showing definitions by name."""

import re
from collections import Counter
from collections.abc import Callable, Sequence

from codeintel.budget import size
from codeintel.store import Index, Symbol

OUTLINE_BUDGET = 8_000
"""Characters of an outline; a longer one is shown in less detail."""

_SEPARATOR = re.compile(r"::|->|[.#]")


def qualified_name(symbol: Symbol) -> str:
    """Return the name with those of the definitions around it, joined by dots."""
    return f"{symbol.container}.{symbol.name}" if symbol.container else symbol.name


def last_part(name: str) -> str:
    """Return ``b`` of ``a.b``, ``a::b``, ``a#b``, ``a->b`` and ``b()``."""
    plain = name.strip().removesuffix("()")
    return _SEPARATOR.split(plain)[-1] or plain


def dotted(name: str) -> str:
    """Return ``a.b`` of ``a.b``, ``a::b``, ``a#b``, ``a->b`` and ``a.b()``."""
    return ".".join(_SEPARATOR.split(name.strip().removesuffix("()")))


def find_symbols(
    index: Index, name: str, wanted: Callable[[Symbol], bool]
) -> tuple[list[Symbol], bool]:
    """Return the `wanted` definitions called `name`, and whether there are any of that name.

    If there are none, they are those whose names are like it.

    `name` may be qualified, as in ``Class.method``; those in another container come only if
    there is none in that one.
    """
    last = last_part(name)
    found = index.symbols(last)
    exact = bool(found)
    found = list(filter(wanted, found)) if exact else index.similar_symbols(last, wanted)
    full = dotted(name)
    inside = [one for one in found if f".{qualified_name(one)}".endswith(f".{full}")]
    return inside or found, exact


def describe(symbol: Symbol) -> str:
    """Return ``path:first-last kind qualified.name: signature``."""
    lines = f"{symbol.path}:{symbol.line}-{symbol.end_line}"
    return f"{lines} {symbol.kind} {qualified_name(symbol)}: {symbol.signature}"


def outline_lines(symbols: Sequence[Symbol]) -> tuple[list[str], str | None]:
    """Return a line for each of `symbols`, nested ones indented, and a hint when less is shown.

    In less detail they are names alone, then those of the top level alone, then counts by kind.
    """
    top = [symbol for symbol in symbols if symbol.container is None]
    counts = Counter(symbol.kind for symbol in symbols)
    shapes = (
        ([_indented(symbol, symbol.signature) for symbol in symbols], None),
        ([_indented(symbol, symbol.name) for symbol in symbols], "names only; read for more"),
        ([_indented(symbol, symbol.name) for symbol in top], "top level only; grep for members"),
        ([f"{count} {kind}" for kind, count in counts.most_common()], "counts only; use symbols"),
    )
    return next(shape for shape in shapes if size(shape[0]) <= OUTLINE_BUDGET)


def _indented(symbol: Symbol, text: str) -> str:
    depth = symbol.container.count(".") + 1 if symbol.container else 0
    return f"{'  ' * depth}{symbol.line}-{symbol.end_line} {text[:120]}"
