"""Run the demo: hosts up, a repository, site.yml, verify.yml; then a table of what a client saw."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REPORT = ROOT / ".cache/lab/demo.json"
LOG = ROOT / ".cache/lab/demo.log"
INVENTORY = ["--inventory=molecule/shared/inventory", "--inventory=molecule/demo/inventory.yml"]
UNITS = ("codeintel.service", "codeintel@*.service", "nginx.service", "certbot.service")
TOPOLOGIES = ("terminating", "passthrough")
# How the client asks for its address, and the one that it has.
ADDRESSES = {
    "TCP, IPv4": ("-4 --http2", "10.203.52.30"),
    "TCP, IPv6": ("-6 --http2", "fd53:203:52::30"),
    "UDP, IPv4": ("-4 --http3-only", "10.203.52.30"),
    "UDP, IPv6": ("-6 --http3-only", "fd53:203:52::30"),
}

NEXT = """
The demo stands. It has no authentication: whoever reaches the address may call its tools.
What to type next:
  ssh -i .cache/lab/id_ed25519 root@10.203.52.30    # the client; https://mcp.test is the endpoint
  ssh -i .cache/lab/id_ed25519 root@10.203.52.10    # the host; journalctl -f -u 'codeintel@*'
  on the client: curl --http3-only https://mcp.test/api/capz
  on the client: curl --http3-only -N 'https://mcp.test/api/sse?interval=0.5&count=20'
  bin/demo          # again, in under a minute
  bin/demo --down   # remove it
For a host of your own: README.md, "On your host"."""


class Demo:
    """The steps of the demo, each of which says what it does while it works."""

    def __init__(self, start: float) -> None:
        """Count the seconds from the start, in seconds since the epoch."""
        self.start = start
        LOG.parent.mkdir(parents=True, exist_ok=True)
        LOG.write_text("")

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.time() - self.start

    def play(self, title: str, playbook: str, *arguments: str) -> bool:
        """Run a playbook, show its tasks as they come, and keep all it prints in the log."""
        print(f"\n==> {title}", flush=True)
        command = ["ansible-playbook", *INVENTORY, playbook, *arguments]
        told: list[str] = []
        with (
            LOG.open("a", encoding="utf-8") as log,
            subprocess.Popen(
                command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as process,
        ):
            for line in process.stdout or ():
                log.write(line)
                told.append(line)
                if line.startswith(("TASK [", "RUNNING HANDLER [")):
                    task = line[line.index("[") + 1 : line.rindex("]")]
                    self._progress(task.removeprefix("codeintel.mcp_edge."))
        self._progress("")
        if process.returncode:
            failure = next((i for i, line in enumerate(told) if "[ERROR]" in line), 0)
            sys.stdout.writelines(told[failure : failure + 40])
        return process.returncode == 0

    def _progress(self, task: str) -> None:
        if sys.stdout.isatty():
            line = f"{self.seconds:6.1f} s  {task}"[:100] if task else ""
            print(f"\r\033[K{line}", end="", flush=True)
        elif task:
            print(f"{self.seconds:6.1f} s  {task}", flush=True)

    def journals(self) -> None:
        """Print what the host's units said last: the ones that failed, then the demo's own."""
        listing = self._on("target", "systemctl list-units --failed --plain --no-legend")
        failed = [word for word in listing.split() if word.endswith((".service", ".socket"))]
        for unit in dict.fromkeys([*failed, *UNITS]):
            print(f"\n--- journal of {unit}", flush=True)
            print(self._on("target", f"journalctl --no-pager -n 30 --unit='{unit}'"), flush=True)

    def addresses(self) -> list[dict[str, Any]]:
        """Ask from the client over TCP and UDP, and check which address the app noted."""
        print("\n==> Asking which address the app sees", flush=True)
        mark = f"/api/livez?demo={self.start:.0f}-"
        asks = [
            f"curl -sS -m 5 -o /dev/null {options} 'https://mcp.test{mark}{number}'"
            for number, (options, _) in enumerate(ADDRESSES.values())
        ]
        self._on("client", "; ".join(asks))
        show = "journalctl --unit='codeintel@*.service' --output=cat -n 50"
        journal = self._on("target", show)
        notes = [json.loads(line) for line in journal.splitlines() if '"user_agent"' in line]
        seen = {note["uri"]: note for note in notes}
        checks = []
        for number, (name, (_, address)) in enumerate(ADDRESSES.items()):
            note = seen.get(f"{mark}{number}", {"address": "none", "seconds": "0"})
            checks.append({
                "name": f"address seen by the app over {name}",
                "ok": note["address"] == address,
                "seconds": float(note["seconds"]),
                "value": note["address"],
            })  # fmt: skip
        return checks

    def _on(self, host: str, command: str) -> str:
        return subprocess.run(
            ["ansible", *INVENTORY, host, "--module-name=shell", f"--args={command}"],
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
        ).stdout


def shown(value: Any) -> str:  # noqa: ANN401 - the value of a check is of any type
    """Return a check's value as one line of at most 70 characters."""
    if isinstance(value, dict):
        text = ", ".join(f"{name} {shown(item)}" for name, item in value.items())
    elif isinstance(value, list):
        text = ", ".join(map(shown, value))
    elif isinstance(value, float):
        text = f"{value:.3f}"
    else:
        text = " ".join(str(value).split())
    return text if len(text) <= 70 else text[:67] + "..."


def table(checks: list[dict[str, Any]]) -> None:
    """Print one row a check."""
    width = max(len(check["name"]) for check in checks)
    print(f"\n{'check':{width}}        seconds  value")
    for check in checks:
        mark = "ok  " if check["ok"] else "FAIL"
        value = check["value"] if check["ok"] else check.get("message", check["value"])
        print(f"{check['name']:{width}}  {mark}  {check['seconds']:7.3f}  {shown(value)}")


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    result = argparse.ArgumentParser(
        prog="bin/demo",
        description="Put an MCP endpoint online in containers of this machine, issue it a "
        "certificate from a real ACME server, and call it over HTTP/1.1, 2 and 3.",
    )
    result.add_argument("--topology", choices=TOPOLOGIES, default=TOPOLOGIES[0])
    result.add_argument("--json", type=Path, metavar="FILE", help="write the table to FILE as well")
    result.add_argument("--down", action="store_true", help="remove the demo's hosts and stop")
    result.add_argument("--keep", action="store_true", help="leave the hosts up if the demo fails")
    result.add_argument("--start", type=float, default=time.time(), help=argparse.SUPPRESS)
    return result


def main() -> int:
    """Run the demo and return its exit code."""
    options = parser().parse_args()
    os.environ["PYTHONUNBUFFERED"] = "1"
    demo = Demo(options.start)
    if options.down:
        return not demo.play("Removing the demo's hosts", "molecule/shared/destroy.yml")

    REPORT.unlink(missing_ok=True)
    ask = json.dumps(
        {
            "verify_from": "client",
            "verify_ca_path": "/etc/ssl/certs/ca-certificates.crt",
            "verify_mcp_tool": "grep",
            "verify_mcp_arguments": {"pattern": "quic reuseport"},
            "verify_report": str(REPORT),
        }
    )
    topology = f"mcp_edge_topology={options.topology}"
    ok = (
        demo.play(
            "Starting a bare systemd host, an ACME server and a client",
            "molecule/shared/create.yml",
            "molecule/shared/prepare.yml",
        )
        and demo.play("Copying this checkout to the host", "molecule/demo/checkout.yml")
        and demo.play(
            "Running site.yml against the bare host", "playbooks/site.yml", "-e", topology
        )
        and demo.play(
            "Asking the endpoint from the client", "playbooks/verify.yml", "-e", topology, "-e", ask
        )
    )

    report: dict[str, Any] = {"ok": False, "topology": options.topology, "checks": []}
    if REPORT.exists():
        report |= json.loads(REPORT.read_text(encoding="utf-8"))
    if report["checks"] and options.topology == "passthrough":
        report["checks"] += demo.addresses()
        report["ok"] = all(check["ok"] for check in report["checks"])
    report |= {"ok": ok and report["ok"], "seconds": round(demo.seconds, 1)}
    if report["checks"]:
        table(report["checks"])
    if options.json:
        path = Path(os.environ.get("DEMO_CALLER", "."), options.json)
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")

    if report["ok"]:
        print(f"\n{len(report['checks'])} checks passed in {report['seconds']} s.\n{NEXT}")
        return 0
    demo.journals()
    print(f"\nThe demo failed after {report['seconds']} s. All that the playbooks said: {LOG}")
    if not options.keep:
        demo.play("Removing the demo's hosts (--keep leaves them)", "molecule/shared/destroy.yml")
    return 1


if __name__ == "__main__":
    sys.exit(main())
