"""Render a role's templates as Ansible does, from its defaults and vars, for no host at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar, trust_as_template

REPOSITORY = Path(__file__).parents[2]
INPUTS = {
    "mcp_edge_domain": "mcp.test",
    "mcp_edge_topology": "terminating",
    "mcp_edge_acme_email": "admin@example.com",
    "ansible_managed": "Ansible managed",
}
# What the tasks find out on a host, and what they loop over.
FOUND = {
    "__fail2ban_mcp_connection": {"stdout": "192.0.2.9 50000 192.0.2.10 22"},
    "__fail2ban_mcp_sshd": {"rc": 1},
    "__hypercorn_service_packed": {"sha256": "0123456789abcdef"},
    "__hypercorn_service_survey": {"stdout_lines": ["systemd 257", "ipv6", "resolver 127.0.0.53"]},
    "__mcp_app_python_version": {"stdout": "3.13.5"},
    "__mcp_app_source_id": "0123456789abcdef",
    "__nginx_quic_bpf": {"rc": 0},
    "__nginx_quic_connection": {"stdout": "192.0.2.1 50000 192.0.2.2 22"},
    "__nginx_quic_survey": {"stdout_lines": ["ipv6", "ssh 22"]},
    "item": {"name": "mine", "url": "https://example.com/mine.git"},
}

Render = Callable[..., str]


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def variables() -> Callable[..., Templar]:
    """Return a function that gives the variables of a role, some of them as given."""
    init_plugin_loader()
    loader = DataLoader()

    def templar(role: str, **given: object) -> Templar:
        values: dict[str, Any] = {**INPUTS, **FOUND, "role_path": str(REPOSITORY / "roles" / role)}
        for folder in ("defaults", "vars"):
            path = REPOSITORY / "roles" / role / folder / "main.yml"
            values |= loader.load_from_file(str(path), trusted_as_template=True)
        return Templar(loader=loader, variables=values | given)

    return templar


@pytest.fixture(scope="session")
def render(variables: Callable[..., Templar]) -> Render:
    """Return a function that renders a template, with some variables as given."""

    def rendered(template: str, **given: object) -> str:
        role, name = template.split("/")
        text = (REPOSITORY / "roles" / role / "templates" / name).read_text(encoding="utf-8")
        templar = variables(role, **given)
        options = {"trim_blocks": True, "lstrip_blocks": False}
        result = templar.template(
            trust_as_template(text), escape_backslashes=False, overrides=options
        )
        return str(result)

    return rendered
