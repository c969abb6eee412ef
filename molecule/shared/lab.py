"""The hosts of a scenario, and clients that ask from one of them as the public would."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import testinfra
import yaml
from testinfra.host import Host

ROOT = Path(__file__).resolve().parents[2]
SCENARIO = ROOT / "molecule" / os.environ.get("MOLECULE_SCENARIO_NAME", "default")
INVENTORY = [
    f"--inventory={ROOT}/molecule/shared/inventory",
    f"--inventory={SCENARIO}/inventory.yml",
]
_VARIABLES = yaml.safe_load((SCENARIO / "inventory.yml").read_text())["all"]["vars"]
LAB = _VARIABLES["lab_name"]
NET = _VARIABLES["lab_net"]
ADDRESSES = {
    "target": f"10.203.{NET}.10",
    "acme": f"10.203.{NET}.20",
    "client": f"10.203.{NET}.30",
    "twin": f"10.203.{NET}.40",
    "attacker": f"10.203.{NET}.50",
    "elder": f"10.203.{NET}.60",
}
TARGET6 = f"fd53:203:{NET}::10"
# What nginx says with every answer, its own refusals among them.
HEADERS = {
    "alt-svc": 'h3=":443"; ma=86400',
    "strict-transport-security": "max-age=63072000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
}
PROTOCOLS = {"h1": "--http1.1", "h2": "--http2", "h3": "--http3-only"}
CLIENT6 = f"fd53:203:{NET}::30"
BOTH_FAMILIES = [ADDRESSES["target"], f"[{TARGET6}]"]
KEY = str(ROOT / ".cache/lab/id_ed25519")
SSH = "-o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o LogLevel=ERROR"
# Programs on the client host import the package "probe", whatever the image came with.
PYTHON = "env PYTHONPATH=/opt/tests /opt/probe/bin/python"


def connect(name: str) -> Host:
    """Return a host of the scenario, reached by ssh as users reach theirs."""
    return testinfra.get_host(
        f"ssh://root@{ADDRESSES[name]}",
        ssh_identity_file=KEY,
        ssh_extra_args=SSH,
        controlpersist=60,
    )


@functools.cache
def bring_probe(address: str) -> None:
    """Copy the tests' clients to a host, once a session."""
    pack = ["tar", "-c", "-C", str(ROOT / "molecule/shared"), "--exclude=__pycache__", "probe"]
    unpack = "rm -rf /opt/tests && mkdir /opt/tests && tar -x -C /opt/tests"
    subprocess.run(
        ["ssh", "-i", KEY, *SSH.split(), f"root@{address}", unpack],
        input=subprocess.run(pack, check=True, capture_output=True).stdout,
        check=True,
    )


@dataclass(frozen=True)
class Answer:
    """What curl saw: status, the headers of the last response (names in lower case) and body."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever the server answered
        """The body, decoded."""
        return json.loads(self.body)


class Curl:
    """curl on the client host, which trusts the ACME server's root and nothing else of ours."""

    def __init__(self, client: Host) -> None:
        """Ask from this host."""
        self.client = client

    def __call__(self, url: str, *options: str, protocol: str = "h2") -> Answer:
        """Ask once, for at most 15 s; fails the test when no answer comes."""
        result = self.client.run(
            "curl --silent --show-error --max-time 15 --dump-header /dev/stderr %s"
            + " %s" * len(options)
            + " %s",
            PROTOCOLS[protocol],
            *options,
            url,
        )
        assert result.rc == 0, result.stderr
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        last = max(i for i, line in enumerate(lines) if line.startswith("HTTP/"))
        pairs = (line.split(":", 1) for line in lines[last + 1 :] if ":" in line)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        return Answer(int(lines[last].split()[1]), headers, result.stdout)


def play(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook against the scenario's hosts and return how it went."""
    return subprocess.run(
        ["ansible-playbook", *INVENTORY, *arguments],
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_FORCE_COLOR": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )


def python_on(host: Host, program: str, *arguments: str) -> Any:  # noqa: ANN401 - its own JSON
    """Run a program of the tests on a host, with the package probe; it prints one JSON document."""
    bring_probe(host.backend.host.name)
    result = host.run(f"{PYTHON} -c %s" + " %s" * len(arguments), program, *arguments)
    assert result.rc == 0, result.stderr
    return json.loads(result.stdout)


@contextlib.contextmanager
def names_of(addresses: dict[str, str]) -> Iterator[None]:
    """Have this process know hosts of the scenario by their names."""
    look_up = socket.getaddrinfo

    def resolve(host: Any, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        name = host.decode() if isinstance(host, bytes) else host
        return look_up(addresses.get(name, host), *arguments, **named)

    with patch("socket.getaddrinfo", resolve):
        yield


class Companion:
    """A program of the package probe that runs on a host beside a test.

    It prints a line when it is ready, stops when its standard input ends, and prints one JSON
    document then.
    """

    def __init__(self, host: Host, module: str, *arguments: str) -> None:
        """Start it, and wait until it is ready."""
        address = host.backend.host.name
        bring_probe(address)
        command = f"{PYTHON} -m {shlex.join([module, *arguments])}"
        self._process = subprocess.Popen(
            ["ssh", "-i", KEY, *SSH.split(), f"root@{address}", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # a buffer would take in what follows the first line, and keep it
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise AssertionError(self._process.communicate()[1].decode())

    def wait(self, seconds: float) -> None:
        """Wait until it ends by itself, but not for longer than that."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def result(self, seconds: float = 30) -> Any:  # noqa: ANN401 - its own JSON
        """Stop it, if it has not ended by itself, and return what it says."""
        output, errors = self._process.communicate(timeout=seconds)
        assert self._process.returncode == 0, errors.decode()
        return json.loads(output)


def reboot(name: str) -> None:
    """Restart a host of the scenario, and wait until it answers again."""
    engine = shutil.which("podman") or "docker"
    container = f"{LAB}-{name}"
    subprocess.run([engine, "restart", "--time=20", container], check=True, capture_output=True)
    # Credentials need shared mounts, which a container's root does not have by itself.
    subprocess.run([engine, "exec", container, "mount", "--make-rshared", "/"], check=True)
    host = connect(name)
    end = time.monotonic() + 30
    while True:  # the connection from before may still be tried
        try:
            assert host.run("true").rc == 0
        except RuntimeError:
            if time.monotonic() > end:
                raise
        else:
            return


def instance(target: Host, name: str) -> str:
    """Return the unit of the instance, of a service's two, that serves."""
    show = "systemctl show -p Id,ActiveState,StatusText %s %s"
    shown = target.check_output(show, f"{name}@1.service", f"{name}@2.service")
    units = [dict(line.split("=", 1) for line in text.splitlines()) for text in shown.split("\n\n")]
    (serving,) = [
        str(unit["Id"])
        for unit in units
        if unit["StatusText"] == "Serving" and unit["ActiveState"] in {"active", "reloading"}
    ]
    return serving


def unit_pid(target: Host, name: str) -> str:
    """Return the number of the process that serves for a service."""
    show = "systemctl show -p MainPID --value %s"
    return str(target.check_output(show, instance(target, name)).strip())


def until(host: Host, condition: str, seconds: int = 20) -> bool:
    """Wait until a shell command on the host succeeds; False if it does not in time."""
    loop = (
        f"for i in $(seq {seconds * 10}); do {{ {condition}; }} && exit 0; sleep 0.1; done; exit 1"
    )
    return bool(host.run(loop).rc == 0)
