"""Find the definitions, uses and chunks of one text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tree_sitter import Node, QueryCursor

from codeintel.languages import GRAMMARS, UNRANKED, grammar

MAX_CHUNK = 80
"""Lines; a longer definition is cut."""

MAX_SIGNATURE = 200

_CONTAINERS = {"class", "enum", "interface", "module", "type"}
_CHUNKED = _CONTAINERS | {"function", "macro", "method"}
# A definition's capture may be only its inner part, such as a C function without its body.
_WRAPPERS = {
    "ambient_declaration",
    "declaration",
    "decorated_definition",
    "export_statement",
    "field_declaration",
    "function_definition",
    "lexical_declaration",
    "pointer_declarator",
    "reference_declarator",
    "template_declaration",
    "variable_declaration",
}
_LEADING = re.compile(rb"\s*(?:#(?!include|define|endif)|//|/?\*|@|\[\w)")


@dataclass(slots=True)
class Definition:
    """A definition; lines are 1-based and inclusive, `first` is that of its decorators."""

    name: str
    kind: str
    first: int
    line: int
    end_line: int
    container: str | None
    signature: str

    @property
    def qualified(self) -> str:
        """The name behind those of its containers."""
        return f"{self.container}.{self.name}" if self.container else self.name


@dataclass(frozen=True, slots=True)
class Extract:
    """What is in one text: `uses` has lines by (name, kind), `chunks` (first, last, symbol)."""

    definitions: list[Definition]
    uses: dict[tuple[str, str], list[int]]
    chunks: list[tuple[int, int, str | None]]


def extract(language: str | None, content: bytes) -> Extract:
    """Return what a text (UTF-8) of `language` contains; chunks do not overlap."""
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    definitions: list[Definition] = []
    uses: dict[tuple[str, str], list[int]] = {}
    if language in GRAMMARS:
        known = grammar(language)
        root = known.parser.parse(content).root_node
        definitions = _definitions(QueryCursor(known.definitions).matches(root), lines)
        for kind, query in ("call", known.calls), ("import", known.imports):
            nodes = QueryCursor(query).captures(root).get("name", ())  # in no certain order
            for node in sorted(nodes, key=lambda node: node.start_byte):
                name = content[node.start_byte : node.end_byte].decode()
                found = uses.setdefault((name, kind), [])
                line = node.start_point[0] + 1
                if line not in found[-1:]:
                    found.append(line)
    chunks = [] if language in UNRANKED else list(_chunks(definitions, lines))
    return Extract(definitions, uses, chunks)


def _definitions(
    matches: list[tuple[int, dict[str, list[Node]]]], lines: list[bytes]
) -> list[Definition]:
    by_name: dict[int, tuple[Node, Node, str]] = {}
    for _, captures in sorted(matches, key=lambda match: match[0]):
        [name, *_] = captures["name"]
        capture = next(c for c in captures if c.startswith("definition."))
        kind = capture.removeprefix("definition.")
        known = by_name.get(name.start_byte)
        # Patterns overlap: a method is also a function, a function also a constant.
        if known is None or known[2] == "constant" or kind == "method":
            by_name[name.start_byte] = name, captures[capture][-1], kind
    found: list[Definition] = []
    around: list[tuple[int, Definition]] = []  # with the byte where each ends
    for start in sorted(by_name):
        name, node, kind = by_name[start]
        while (parent := node.parent) is not None and parent.type in _WRAPPERS:
            node = parent
        line, last = name.start_point[0] + 1, _last_line(node)
        while around and around[-1][0] <= start:
            around.pop()
        outer = around[-1][1] if around else None
        if kind == "function" and outer and outer.kind in {"class", "interface"}:
            kind = "method"  # some grammars do not tell
        definition = Definition(
            (name.text or b"").decode(),
            kind,
            node.start_point[0] + 1,
            line,
            last,
            outer.qualified if outer else None,
            lines[line - 1].decode().strip()[:MAX_SIGNATURE],
        )
        found.append(definition)
        if kind in _CHUNKED:
            around.append((node.end_byte, definition))
    return found


def _last_line(node: Node) -> int:
    row, column = node.end_point
    return row + (column > 0)


def _chunks(
    definitions: list[Definition], lines: list[bytes]
) -> Iterator[tuple[int, int, str | None]]:
    """Cut the lines where definitions start and end, except within functions."""
    cuts: dict[int, str | None] = {1: None}
    inside: list[Definition] = []
    floor = 1
    for definition in definitions:
        if definition.kind not in _CHUNKED:
            continue
        while inside and inside[-1].end_line < definition.first:
            done = inside.pop()
            floor = done.end_line + 1
            cuts[floor] = inside[-1].qualified if inside else None
        if inside and inside[-1].kind not in _CONTAINERS:
            continue
        first = definition.first
        while first > floor and _LEADING.match(lines[first - 2]):
            first -= 1
        floor = definition.line
        cuts[first] = definition.qualified
        inside.append(definition)
    while inside:
        done = inside.pop()
        cuts[done.end_line + 1] = inside[-1].qualified if inside else None
    starts = sorted(cuts)
    for start, following in zip(starts, [*starts[1:], len(lines) + 1], strict=True):
        if following > start and any(line.strip() for line in lines[start - 1 : following - 1]):
            for first in range(start, following, MAX_CHUNK):
                yield first, min(first + MAX_CHUNK, following) - 1, cuts[start]
