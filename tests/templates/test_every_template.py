"""What holds for every file that a role writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Render

ROLES = Path(__file__).parents[2] / "roles"
TOPOLOGIES = ("terminating", "passthrough")
TEMPLATES = [f"{path.parents[1].name}/{path.name}" for path in sorted(ROLES.glob("*/templates/*"))]


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_first_line_says_who_manages_the_file(render: Render, template: str) -> None:
    text = render(template, ansible_managed="In the hands of Ansible")
    role = template.split("/", maxsplit=1)[0]
    assert text.splitlines()[0] == f"# In the hands of Ansible by codeintel.mcp_edge.{role}"


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("template", TEMPLATES)
def test_the_file_is_tidy(render: Render, template: str, topology: str) -> None:
    text = render(template, mcp_edge_topology=topology)
    assert re.findall(r".*[ \t]$", text, re.MULTILINE) == []
    assert "\n\n\n" not in text
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("template", TEMPLATES)
def test_nothing_of_the_template_itself_is_left(
    render: Render, template: str, topology: str
) -> None:
    text = render(template, mcp_edge_topology=topology)
    assert re.findall(r"{{|}}|{%|%}|\bNone\b|__\w+", text) == []


def test_there_are_templates() -> None:
    assert {name.split("/")[0] for name in TEMPLATES} == {
        "certbot_webroot", "fail2ban_mcp", "hypercorn_service", "mcp_app", "nginx_quic"
    }  # fmt: skip
