"""Which language a file is in, and the queries that find definitions and uses in it."""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import version

from tree_sitter import Language, Parser, Query

_EXTENSIONS = {
    "bash": "bash bats sh",
    "c": "c h",
    "cpp": "cc cpp cxx hh hpp hxx ino",
    "csharp": "cs",
    "css": "css less scss",
    "csv": "csv tsv",
    "gettext": "po pot",
    "go": "go",
    "html": "htm html jinja j2 vue svelte",
    "java": "java",
    "javascript": "cjs js jsx mjs",
    "json": "geojson json jsonc",
    "kotlin": "kt kts",
    "lua": "lua",
    "markdown": "markdown md mdx",
    "php": "php",
    "python": "py pyi pyw",
    "restructuredtext": "rst",
    "ruby": "gemspec rake rb",
    "rust": "rs",
    "scala": "scala",
    "sql": "sql",
    "svg": "svg",
    "swift": "swift",
    "terraform": "tf",
    "text": "txt",
    "toml": "toml",
    "tsx": "tsx",
    "typescript": "cts mts ts",
    "xml": "xml xsd xsl",
    "yaml": "yaml yml",
}
_BY_EXTENSION = {e: name for name, extensions in _EXTENSIONS.items() for e in extensions.split()}
_BY_NAME = {
    "Dockerfile": "dockerfile",
    "Gemfile": "ruby",
    "Makefile": "make",
    "Rakefile": "ruby",
}
_BY_INTERPRETER = {
    "bash": "bash",
    "node": "javascript",
    "php": "php",
    "python": "python",
    "ruby": "ruby",
    "sh": "bash",
}
UNRANKED = frozenset({"csv", "gettext", "svg"})
"""Data and translations: found by grep, but noise in a ranking."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a grammar comes from; `tags` are the packages whose own queries it uses."""

    package: str
    tags: tuple[str, ...]
    function: str = "language"
    more: str = ""


# What the packages' own queries lack.
_C = """
(preproc_def name: (identifier) @name) @definition.macro
(preproc_function_def name: (identifier) @name) @definition.macro
(call_expression function: (identifier) @name) @reference.call
"""
_JAVASCRIPT = """
(program (lexical_declaration (variable_declarator name: (identifier) @name) @definition.constant))
(program (export_statement (lexical_declaration
  (variable_declarator name: (identifier) @name) @definition.constant)))
(import_specifier name: (identifier) @name) @reference.import
(import_clause (identifier) @name) @reference.import
"""
_TYPESCRIPT = f"""{_JAVASCRIPT}
(type_alias_declaration name: (type_identifier) @name) @definition.type
(enum_declaration name: (identifier) @name) @definition.enum
"""
_SOURCES = {
    "bash": _Source(
        "bash",
        (),
        more="""
(function_definition name: (word) @name) @definition.function
(command name: (command_name (word) @name)) @reference.call
""",
    ),
    "c": _Source("c", ("c",), more=_C),
    "cpp": _Source(
        "cpp",
        ("cpp",),
        more=f"""{_C}
(namespace_definition name: (namespace_identifier) @name) @definition.module
(call_expression function: (field_expression field: (field_identifier) @name)) @reference.call
""",
    ),
    "csharp": _Source(
        "c_sharp",
        (),
        more="""
(namespace_declaration name: (_) @name) @definition.module
(class_declaration name: (identifier) @name) @definition.class
(struct_declaration name: (identifier) @name) @definition.class
(record_declaration name: (identifier) @name) @definition.class
(interface_declaration name: (identifier) @name) @definition.interface
(enum_declaration name: (identifier) @name) @definition.enum
(method_declaration name: (identifier) @name) @definition.method
(constructor_declaration name: (identifier) @name) @definition.method
(property_declaration name: (identifier) @name) @definition.field
(invocation_expression function: (identifier) @name) @reference.call
(invocation_expression
  function: (member_access_expression name: (identifier) @name)) @reference.call
(using_directive (identifier) @name) @reference.import
""",
    ),
    "go": _Source(
        "go",
        ("go",),
        more="""
(source_file (const_declaration (const_spec name: (identifier) @name) @definition.constant))
(source_file (var_declaration (var_spec name: (identifier) @name) @definition.variable))
""",
    ),
    "java": _Source(
        "java",
        ("java",),
        more="""
(constructor_declaration name: (identifier) @name) @definition.method
(enum_declaration name: (identifier) @name) @definition.enum
(record_declaration name: (identifier) @name) @definition.class
(import_declaration (scoped_identifier name: (identifier) @name)) @reference.import
""",
    ),
    "javascript": _Source("javascript", ("javascript",), more=_JAVASCRIPT),
    "php": _Source(
        "php",
        ("php",),
        function="language_php",
        more="""
(enum_declaration name: (name) @name) @definition.enum
(namespace_use_clause (qualified_name (name) @name)) @reference.import
""",
    ),
    "python": _Source(
        "python",
        ("python",),
        more="""
(import_statement name: (dotted_name (identifier) @name)) @reference.import
(import_from_statement name: (dotted_name (identifier) @name)) @reference.import
(import_from_statement
  name: (aliased_import name: (dotted_name (identifier) @name))) @reference.import
""",
    ),
    "ruby": _Source("ruby", ("ruby",)),
    "rust": _Source(
        "rust",
        ("rust",),
        more="""
(const_item name: (identifier) @name) @definition.constant
(static_item name: (identifier) @name) @definition.constant
(call_expression function: (scoped_identifier name: (identifier) @name)) @reference.call
(use_declaration argument: (scoped_identifier name: (identifier) @name)) @reference.import
(use_list (identifier) @name) @reference.import
(use_list (scoped_identifier name: (identifier) @name)) @reference.import
""",
    ),
    "tsx": _Source(
        "typescript", ("javascript", "typescript"), function="language_tsx", more=_TYPESCRIPT
    ),
    "typescript": _Source(
        "typescript",
        ("javascript", "typescript"),
        function="language_typescript",
        more=_TYPESCRIPT,
    ),
}
GRAMMARS = tuple(_SOURCES)
"""The languages whose symbols are known."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """A parser, and the queries for definitions, calls and imports."""

    parser: Parser
    definitions: Query
    calls: Query
    imports: Query


def detect(path: str, content: bytes) -> str | None:
    """Return the language of a file by its name, else by its interpreter line."""
    name = path.rpartition("/")[2]
    _, dot, extension = name.rpartition(".")
    language = _BY_EXTENSION.get(extension.lower()) if dot else _BY_NAME.get(name)
    if language is None and content.startswith(b"#!"):
        line = content[2:].partition(b"\n")[0].decode(errors="ignore")
        program = line.replace("/usr/bin/env ", "").split()[:1]
        name = "".join(program).rpartition("/")[2]
        language = _BY_INTERPRETER.get(name.rstrip("0123456789."))
    return language


@cache
def grammar(language: str) -> Grammar:
    """Load the grammar of one of `GRAMMARS`."""
    source = _SOURCES[language]
    loaded = Language(getattr(import_module(f"tree_sitter_{source.package}"), source.function)())
    tags = [import_module(f"tree_sitter_{package}").TAGS_QUERY for package in source.tags]
    every = "\n".join([*tags, source.more])
    return Grammar(
        Parser(loaded),
        _subset(loaded, every, "@definition."),
        _subset(loaded, every, "@reference.call"),
        _subset(loaded, every, "@reference.import"),
    )


def _subset(language: Language, query: str, capture: str) -> Query:
    """Return the query of those patterns of `query` that have `capture`."""
    every = Query(language, query)
    source = query.encode()
    wanted = []
    for at in range(every.pattern_count):
        pattern = source[every.start_byte_for_pattern(at) : every.end_byte_for_pattern(at)].decode()
        # Local variables are not told apart, so a bare name would pass for a call.
        if capture in pattern and "#is-not? local" not in pattern:
            wanted.append(pattern)
    return Query(language, "\n".join(wanted))


def fingerprint() -> str:
    """Return the versions of all that decides what a text's symbols are."""
    packages = sorted({f"tree-sitter-{s.package.replace('_', '-')}" for s in _SOURCES.values()})
    return " ".join(f"{name} {version(name)}" for name in ["tree-sitter", *packages])
