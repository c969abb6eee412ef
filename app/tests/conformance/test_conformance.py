"""The official suite, against the composite on the server that the role installs."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from .conftest import serving
from .node_tools import CONFORMANCE, PACKAGES


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving("fixture_app:app", tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.mark.parametrize(
    ("revision", "expected"),
    [
        # FastMCP has no subscriptions to resources in the session era.
        ("2025-11-25", {"resources-subscribe", "resources-unsubscribe"}),
        ("2026-07-28", set()),
    ],
)
def test_required_scenarios(url: str, tmp_path: Path, revision: str, expected: set[str]) -> None:
    command = [*CONFORMANCE, "server", "--url", url, "--requirements", revision]
    done = subprocess.run(
        [*command, "--output-dir", tmp_path], check=False, stdout=subprocess.PIPE, timeout=120
    )
    required = required_scenarios(revision)
    assert len(required) >= 30
    failed = {scenario for scenario in required if not passes(tmp_path, scenario)}
    assert failed == expected, done.stdout.decode()


def required_scenarios(revision: str) -> list[str]:
    """Return what the revision demands of a server, as the suite has it."""
    requirements = (PACKAGES / "conformance/requirements" / f"{revision}.yaml").read_text()
    scored: dict[str, list[str]] = yaml.safe_load(requirements)
    return scored["server"]


def passes(results: Path, scenario: str) -> bool:
    [checks] = results.glob(f"server-{scenario}-20*/checks.json")
    statuses = {check["status"] for check in json.loads(checks.read_text())}
    return "SUCCESS" in statuses and "FAILURE" not in statuses
