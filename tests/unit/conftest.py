"""Where the collection is, for tests that import its plugins or run its roles."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
ROLES = ("certbot_webroot", "fail2ban_mcp", "hypercorn_service", "mcp_app", "nginx_quic")

sys.path.insert(0, str(REPOSITORY / ".cache/collections"))  # bin/setup makes it


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session", params=ROLES)
def role(request: pytest.FixtureRequest) -> Path:
    """Return the folder of one role after the other."""
    return REPOSITORY / "roles" / str(request.param)
