"""A host loses its power, or is restarted in good order."""

from __future__ import annotations

import shutil
import subprocess
import time

from changing import Edge
from lab import LAB, connect, until

ENGINE = shutil.which("podman") or "docker"
UP = 40  # seconds


def restart(edge: Edge) -> None:
    """Restart a host, and wait until it serves."""
    _engine("stop", "--time=20", edge)
    _start(edge)


def cut(edge: Edge) -> None:
    """Kill all of a host's processes at once, start it, and wait until it serves."""
    _engine("kill", "--signal=KILL", edge)
    _start(edge)


def _engine(verb: str, option: str, edge: Edge) -> None:
    command = [ENGINE, verb, *([option] if option else []), f"{LAB}-{edge.name}"]
    subprocess.run(command, check=True, capture_output=True)


def _start(edge: Edge) -> None:
    _engine("start", "", edge)
    # Credentials need shared mounts, which a container's root does not have by itself.
    shared = [ENGINE, "exec", f"{LAB}-{edge.name}", "mount", "--make-rshared", "/"]
    subprocess.run(shared, check=True, capture_output=True)
    end = time.monotonic() + UP
    while True:  # the connection from before may still be tried
        try:
            assert edge.host.run("true").rc == 0
        except (RuntimeError, AssertionError):
            if time.monotonic() > end:
                raise
        else:
            break
    url = f"https://{edge.domain}/api/readyz"
    for version in ("http2", "http3-only"):
        ask = f"curl -sf --max-time 2 --{version} -o /dev/null {url}"
        assert until(connect("client"), ask, UP), f"{edge.name} does not serve {version}"
