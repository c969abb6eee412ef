"""Write the table of variables in the README of every role from its argument_specs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).parents[1] / "roles"
MARKER = "<!-- variables -->"
MARKUP = re.compile(r"\b(?P<kind>[COV])\((?P<text>[^)]*)\)")


def markdown(text: str) -> str:
    """Turn Ansible's markup of code, values and options into Markdown's code spans."""

    def span(match: re.Match[str]) -> str:
        text = match["text"]
        return code(text.rpartition(":")[2] if match["kind"] == "O" else text)

    return MARKUP.sub(span, text)


def code(text: str) -> str:
    """Set a text as code in a cell of a table."""
    return f"`{text}`".replace("|", "\\|")


def row(name: str, option: Mapping[str, Any]) -> str:
    """Describe one variable in one line of a table."""
    kind = option["type"] + (f" of {option['elements']}" if "elements" in option else "")
    default = option["default"]
    literal = default if isinstance(default, str) and default else json.dumps(default)
    shown = markdown(literal) if MARKUP.search(literal) else code(literal)
    description = option["description"]
    sentences = [description] if isinstance(description, str) else list(description)
    if "choices" in option:
        sentences.append(f"One of {', '.join(f'V({choice})' for choice in option['choices'])}.")
    cells = (code(name), kind, shown, markdown(" ".join(sentences)))
    return f"| {' | '.join(cells)} |"


def table(role: Path) -> str:
    """Return the table of a role's variables."""
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text(encoding="utf-8"))
    options = specs["argument_specs"]["main"]["options"]
    head = ["| Name | Type | Default | Description |", "| --- | --- | --- | --- |"]
    return "\n".join(head + [row(name, option) for name, option in options.items()])


def current(role: Path) -> str:
    """Return the README of a role with the table as it should be."""
    readme = (role / "README.md").read_text(encoding="utf-8")
    before, _, after = readme.split(MARKER)
    return MARKER.join((before, f"\n\n{table(role)}\n\n", after))


def main(arguments: list[str]) -> int:
    """Write all tables; with --check, name the stale ones instead."""
    stale = []
    for role in sorted(folder for folder in ROLES.iterdir() if folder.is_dir()):
        readme = role / "README.md"
        if readme.read_text(encoding="utf-8") != current(role):
            stale.append(readme)
    if arguments == ["--check"]:
        for readme in stale:
            print(f"{readme.relative_to(ROLES.parent)} is stale: run tests/role_readmes.py")
        return 1 if stale else 0
    for readme in stale:
        readme.write_text(current(readme.parent), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
