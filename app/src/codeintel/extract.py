"""Find the definitions, uses and chunks of one text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tree_sitter import Node, Parser, QueryCursor

from codeintel.languages import GRAMMARS, UNRANKED, grammar

MAX_CHUNK = 80
"""Lines; a longer definition is cut."""

MAX_SIGNATURE = 200

# Parsers and queries take a fraction of a second for any source, but minutes and gigabytes for what
# somebody made to that end, or for data that has the name of a source. Such a file is text alone.
STEPS_PER_BYTE = 1 / 32  # of a parser; of 50,000 sources, data among them, none took over 1 / 72
SPARE_STEPS = 1_000
MAX_DEPTH = 1_000
"""Nodes around a node."""

MAX_STRAYS = 10_000
"""Nodes in one stretch that the grammar does not understand."""

SAFE_BYTES = 16_384
"""Whatever is in a file of this size, it takes less than a second."""

_SAMPLE = 2_048  # bytes between two places whose depth is looked at

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
    known = grammar(language) if language in GRAMMARS else None
    if known is not None and (root := _parse(known.parser, content)) is not None:
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


def _parse(parser: Parser, content: bytes) -> Node | None:
    """Return the root of the tree; None for what would take far longer than a source does."""
    if len(content) <= SAFE_BYTES:
        return parser.parse(content).root_node
    left = SPARE_STEPS + int(len(content) * STEPS_PER_BYTE)

    def is_enough(_offset: int, _has_error: bool) -> bool:
        nonlocal left
        left -= 1
        return left < 0

    try:
        root = parser.parse(lambda at, _point: content[at:], progress_callback=is_enough).root_node
    except ValueError:
        parser.reset()
        return None
    return None if _has_strays(root) or _is_deep(root, len(content)) else root


def _has_strays(root: Node) -> bool:
    """Say whether there are so many nodes in one error that queries would not get through them."""
    nodes = [root]
    while nodes:
        node = nodes.pop()
        if node.is_error and node.child_count > MAX_STRAYS:
            return True
        if node.has_error:
            nodes += [child for child in node.children if child.has_error]
    return False


def _is_deep(root: Node, size: int) -> bool:
    """Say whether nodes lie so deep in others that queries would not get through them."""
    cursor = root.walk()
    for at in range(0, size, _SAMPLE):
        cursor.reset(root)
        depth = 0
        while cursor.goto_first_child_for_byte(at) is not None:
            depth += 1
            if depth > MAX_DEPTH:
                return True
    return False


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
