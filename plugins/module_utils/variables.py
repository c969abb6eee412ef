# Copyright: (c) 2026, codeintel.mcp_edge contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What is wrong with the variables that a role was given, said so that a user can mend it."""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

# What every role that has such a variable asks of it, by the name behind the role's prefix.
COMMON_SHAPES = {
    "name": {
        "pattern": r"(?!mcp-edge)[a-z][a-z0-9-]{0,30}",
        "remedy": "give lower-case letters, digits and dashes, such as codeintel; not mcp-edge",
    },
    "domain": {
        "pattern": r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]",
        "remedy": "set mcp_edge_domain to the public host name in lower case, "
        "such as mcp.example.com",
    },
    "topology": {
        "pattern": "terminating|passthrough",
        "remedy": "set mcp_edge_topology to terminating or passthrough",
    },
    "asgi": {
        "pattern": r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*",
        "remedy": "give package.module:object",
    },
}
COLLECTION_INPUTS = ("mcp_edge_acme_email", "mcp_edge_domain", "mcp_edge_topology")


def unknown(names: Iterable[str], known: Iterable[str], prefix: str) -> list[str]:
    """Return one complaint for each name with the prefix that is not known."""
    known = sorted(known)
    complaints = []
    for name in sorted(n for n in names if n.startswith(prefix) and n not in known):
        near = difflib.get_close_matches(name, known, n=1)
        remedy = f"did you mean {near[0]}?" if near else f"known are: {', '.join(known)}"
        complaints.append(f"{name} is not a variable of this collection: {remedy}")
    return complaints


def malformed(
    spec: Mapping[str, Mapping[str, Any]],
    given: Mapping[str, Any],
    shapes: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """Return one complaint for each value of the wrong type, choice or shape.

    :param spec: options as in a role's ``meta/argument_specs.yml``.
    :param given: values, already templated.
    :param shapes: for a name, the ``pattern`` that its value (each item of a list) matches in
        full, or ``networks`` for addresses and networks (also in lists by name) beside it, and
        the ``remedy`` that is said otherwise.
    """
    complaints = []
    for name, value in given.items():
        option = spec[name]
        shown = "(hidden)" if option.get("no_log") else json.dumps(value, default=str)
        wanted = _other_kind(option, value)
        if wanted:
            complaints.append(f"{name} is {shown}: give {wanted}")
            continue
        checked = ArgumentSpecValidator({name: dict(option)}).validate({name: value})
        shape = shapes.get(name, {"pattern": "(?s).*", "remedy": ""})
        if checked.error_messages:
            reasons = "; ".join(filter(None, [*checked.error_messages, shape["remedy"]]))
            complaints.append(
                f"{name} is {shown}: {'of the wrong kind' if option.get('no_log') else reasons}"
            )
            continue
        if option.get("type") == "int" and int(value) < 0:
            complaints.append(f"{name} is {shown}: give a number from 0 on")
            continue
        items = _items(value) if shape.get("networks") or isinstance(value, list) else [value]
        if not all(_fits(str(item), shape) for item in items):
            complaints.append(f"{name} is {shown}: {shape['remedy']}")
    return complaints


def _items(value: object) -> Iterator[object]:
    """Yield what is in lists, and in dictionaries of lists."""
    if isinstance(value, (list, Mapping)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _items(item)
    else:
        yield value


def _fits(value: str, shape: Mapping[str, Any]) -> bool:
    if "pattern" in shape and re.fullmatch(shape["pattern"], value):
        return True
    if not shape.get("networks"):
        return False
    try:
        network = ipaddress.ip_network(value)
    except ValueError:
        return False
    return network.prefixlen > 0 and "%" not in value  # neither everybody nor one interface


def _other_kind(option: Mapping[str, Any], value: object) -> str | None:
    """Name the kind to give instead of one that ArgumentSpecValidator would silently convert."""
    kind = option.get("type", "str")
    if kind in ("str", "path"):
        return "a string" if isinstance(value, (dict, list)) else None
    if kind == "dict":
        return None if isinstance(value, dict) else "a dictionary"
    if kind == "list":
        strings = option.get("elements") == "str"
        fits = isinstance(value, list) and not (
            strings and any(isinstance(item, (dict, list)) for item in value)
        )
        return None if fits else f"a list{' of strings' if strings else ''}"
    return None
