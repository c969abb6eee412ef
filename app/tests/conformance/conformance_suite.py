"""Running the official suite against an address."""

import json
import os
import subprocess
from pathlib import Path

import yaml
from node_tools import CONFORMANCE, PACKAGES

EXPECTED = {
    # FastMCP has no subscriptions to resources in the session era.
    "2025-11-25": {"resources-subscribe", "resources-unsubscribe"},
    "2026-07-28": set[str](),
}
"""The scenarios that fail, by revision: FastMCP's own list."""


def failed_scenarios(url: str, revision: str, results: Path, **environment: str) -> set[str]:
    """Return which of the scenarios that `revision` demands of a server fail at `url`."""
    command = [*CONFORMANCE, "server", "--url", url, "--requirements", revision]
    done = subprocess.run(
        [*command, "--output-dir", results],
        check=False,
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        env=os.environ | environment,
    )
    print(done.stdout)  # pytest shows it when the test fails
    requirements = (PACKAGES / "conformance/requirements" / f"{revision}.yaml").read_text()
    required: list[str] = yaml.safe_load(requirements)["server"]
    assert len(required) >= 30
    return {scenario for scenario in required if not _passes(results, scenario)}


def _passes(results: Path, scenario: str) -> bool:
    [checks] = results.glob(f"server-{scenario}-20*/checks.json")
    statuses = {check["status"] for check in json.loads(checks.read_text())}
    return "SUCCESS" in statuses and "FAILURE" not in statuses
