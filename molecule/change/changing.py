"""The hosts that are changed, the load on them, and the plays that change them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import ADDRESSES, INVENTORY, PROTOCOLS, ROOT, until
from steadily import steadily
from testinfra.host import Host

HOSTS = {"target": "mcp.test", "twin": "twin.test"}  # terminating, passthrough
SITE, DEPLOY, ROLLBACK = (f"{ROOT}/playbooks/{name}.yml" for name in ("site", "deploy", "rollback"))
RATE = "--rate=4"  # requests a second of each kind over each protocol
BACK = 5  # seconds, from the clean end of an event stream to the first event of the next one
SILENCE = "--silence=3"  # seconds; a stream that is left hanging counts as broken
Report = dict[str, Any]


@dataclass(frozen=True)
class Edge:
    """A host by its name in the inventory."""

    name: str
    host: Host

    @property
    def domain(self) -> str:
        return HOSTS[self.name]

    @property
    def terminating(self) -> bool:
        return self.name == "target"

    def run(self, command: str) -> str:
        """Return what a command prints; it must succeed."""
        return str(self.host.check_output(command)).strip()

    def start(self, *arguments: str, **variables: object) -> subprocess.Popen[str]:
        """Begin a play on this host alone."""
        command = ["ansible-playbook", *INVENTORY, f"--limit={self.name}", *arguments]
        return subprocess.Popen(
            [*command, "--extra-vars", json.dumps(variables)],
            cwd=ROOT,
            env=os.environ | {"ANSIBLE_FORCE_COLOR": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def play(self, *arguments: str, **variables: object) -> tuple[int, str]:
        """Run a play on this host alone; return its status, and what it said."""
        with self.start(*arguments, **variables) as process:
            said, _ = process.communicate(timeout=300)
        return process.returncode, said

    def change(self, *arguments: str, **variables: object) -> str:
        """Run a play, which must succeed; return what it said."""
        status, said = self.play(*arguments, **variables)
        assert status == 0, said[-4000:]
        return said

    def release(self) -> str:
        """Return the current release."""
        return self.run("basename $(readlink /srv/codeintel/current)")

    def process(self) -> str:
        """Return the process that serves."""
        last = self.run("readlink /var/lib/hypercorn_service/codeintel/last")
        return self.run(f"systemctl show -p MainPID --value codeintel@{last}.service")

    @property
    def hand_over(self) -> float:
        """How long a request may take at most while one instance takes over from the other.

        In passthrough the first packet over QUIC may come when nobody reads, and comes once more.
        """
        return 0.2 if self.terminating else 1

    def settled(self) -> bool:
        """Wait until the instance before has ended."""
        ended = "[ $(systemctl list-units --no-legend 'codeintel@*' | wc -l) = 1 ]"
        return until(self.host, ended, 30)

    @contextlib.contextmanager
    def loaded(self, *options: str) -> Iterator[Report]:
        """Keep load on the host; the report is filled in at the end."""
        url = f"https://{self.domain}"
        with steadily(url, RATE, SILENCE, *options, address=ADDRESSES[self.name]) as report:
            yield report


def slowest(report: Report, *protocols: str) -> float:
    """Return how many seconds an answer took at most, less what the load itself was late."""
    cells = [cell for cell in report["requests"] if cell["protocol"] in (protocols or PROTOCOLS)]
    most = max(phase["max_ms"] for cell in cells for phase in cell["latency"].values())
    return float(most - report["load"]["late_ms"]) / 1000


def nothing_lost(report: Report, *, within: float = 1) -> None:
    """See that all was answered `within` so many seconds, and that streams only ended cleanly."""
    assert report["skipped"] == []  # every kind of request was made
    totals = report["totals"]
    assert totals["asked"] > 0
    assert totals["failed"] == 0, totals
    assert totals["streams"]["broken"] == totals["streams"]["failed"] == 0, totals
    assert max(stream["reconnect_seconds"] for stream in report["streams"]) < BACK
    assert slowest(report) < within


def another_app(folder: Path, *, ready: bool = True) -> Path:
    """Return a copy of the app that differs, and that answers nobody if it is not to be ready."""
    shutil.copytree(
        ROOT / "app",
        folder,
        ignore=shutil.ignore_patterns("__pycache__", ".*", "tests", "*.egg-info"),
    )
    module = folder / "src/codeintel/probe.py"
    module.write_text(f"{module.read_text()}\n# {folder}\n")
    if not ready:
        tools = folder / "src/codeintel/api.py"
        text = tools.read_text()
        assert text.count('"status": "ready" if ready') == 1
        tools.write_text(text.replace("ready = context.ready(indexes)", "ready = bool(1 / 0)"))
    return folder
