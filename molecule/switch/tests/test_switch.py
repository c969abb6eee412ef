"""A live host changes its topology and keeps nothing of the one that it left.

One host is taken from A to B and back, another from B to A and back. Each state that a host was
taken to is compared with the state of the other host when that was fresh in the same topology.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab import ADDRESSES, SCENARIO, Companion, Curl, connect, play
from testinfra.host import Host

Snapshot = dict[str, list[str]]
OTHER = {"terminating": "passthrough", "passthrough": "terminating"}
START = {"target": "terminating", "twin": "passthrough"}
DOMAINS = {"target": "mcp.test", "twin": "twin.test"}
# Seconds without an answer that a switch may cost a new client; the figures are printed.
OUTAGE = 60

SNAPSHOT = (SCENARIO / "snapshot.py").read_text(encoding="utf-8")


def snapshot(name: str) -> Snapshot:
    result = connect(name).run("python3 -c %s %s", SNAPSHOT, DOMAINS[name])
    assert result.rc == 0, result.stderr
    found: Snapshot = json.loads(result.stdout)
    return found


def difference(fresh: Snapshot, now: Snapshot) -> str:
    """Say what one has and the other has not.

    Where TLS ends in the app, a certificate that came by a reload stays until the next start.
    """
    for one in (fresh, now):
        if any("8443" in listener for listener in one["listeners"]):
            one["run"] = [path for path in one["run"] if "/certificate" not in path]
    lines: list[str] = []
    for part, entries in fresh.items():
        lines += difflib.unified_diff(entries, now[part], f"fresh {part}", part, lineterm="", n=0)
    return "\n".join(lines)


def switch(topologies: dict[str, str], folder: Path, client: Host) -> dict[str, Any]:
    """Run site.yml with the hosts' new topologies; return what clients of the target missed."""
    inventory = folder / "topologies.yml"
    hosts = {name: {"mcp_edge_topology": topology} for name, topology in topologies.items()}
    inventory.write_text(yaml.safe_dump({"mcp_edge": {"hosts": hosts}}), encoding="utf-8")
    watch = Companion(client, "probe.outage", DOMAINS["target"], "/api/livez")
    run = play("--inventory", str(inventory), "playbooks/site.yml")
    missed: dict[str, Any] = watch.result()
    assert run.returncode == 0, run.stdout[-4000:]
    again = play("--inventory", str(inventory), "playbooks/verify.yml", "-e", json.dumps({
        "verify_from": "client", "verify_ca_path": "/etc/ssl/certs/ca-certificates.crt",
    }))  # fmt: skip
    assert again.returncode == 0, "\n".join(
        line for line in again.stdout.splitlines() if "failed" in line or "msg" in line
    )
    print(f"from {OTHER[topologies['target']]} to {topologies['target']}: {missed}")
    return missed


@pytest.fixture(scope="module")
def fresh() -> dict[str, Snapshot]:
    """Each topology as a fresh host has it."""
    return {topology: snapshot(name) for name, topology in START.items()}


@pytest.mark.parametrize("step", ["there", "back"])
def test_a_switch_leaves_nothing_behind(
    step: str, fresh: dict[str, Snapshot], client: Host, curl: Curl, tmp_path: Path
) -> None:
    topologies = {n: OTHER[t] for n, t in START.items()} if step == "there" else START
    missed = switch(topologies, tmp_path, client)
    for name, topology in topologies.items():
        left = difference(fresh[topology], snapshot(name))
        assert not left, f"{name} as {topology}:\n{left}"
    assert max(record["gap"] for record in missed.values()) < OUTAGE
    for protocol in ("h1", "h2", "h3"):
        there = ("--resolve", f"mcp.test:443:{ADDRESSES['target']}")
        assert curl("https://mcp.test/api/livez", *there, protocol=protocol).status == 200
