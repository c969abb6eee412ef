"""How systemd stops nginx: the program itself, in a network of its own, without nginx."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

STOP = Path(__file__).parents[3] / "roles/nginx_quic/files/stop-nginx"
PAUSE = "timeout 15s"
# Stops, and asks for each port as a client does: at once, and when the pause is over.
IN_A_NETWORK = """
import os, signal, socket, subprocess, sys, time

PORTS = [(socket.SOCK_STREAM, 80), (socket.SOCK_STREAM, 443), (socket.SOCK_DGRAM, 443)]

def ask(kind, port):
    with socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(0.2)
        try:
            client.connect(("127.0.0.1", port))
            client.send(b"hello")
            client.recv(1)
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "dropped"

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # which a shell may have had ignored
nginx = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)
os.environ["MAINPID"] = str(nginx.pid)
end = "sleep 0.1; grep -q zombie /proc/$MAINPID/status && echo after || echo before"
subprocess.run(["sh", sys.argv[1], "0", sys.argv[2], "sh", "-c", end], check=True)
assert nginx.wait(5) == -signal.SIGQUIT
print(*(ask(*port) for port in PORTS), flush=True)
time.sleep(2)
print(*(ask(*port) for port in PORTS))
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("job", "meanwhile"), [("restart", "dropped"), ("stop", "refused")])
def test_who_connects_is_refused_unless_nginx_is_to_start_again(
    tmp_path: Path, job: str, meanwhile: str, when: str
) -> None:
    """And where it does not start, soon after all the same. Streams end when they are to."""
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"#!/bin/sh\necho 7 nginx.service {job} running\n", encoding="utf-8")
    systemctl.chmod(0o755)
    program = tmp_path / "stop-nginx"
    text = STOP.read_text(encoding="utf-8")
    assert PAUSE in text
    program.write_text(text.replace(PAUSE, "timeout 2s"), encoding="utf-8")
    run = subprocess.run(
        ["unshare", "--map-root-user", "--net", sys.executable, "-c", IN_A_NETWORK, program, when],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}:/usr/sbin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.splitlines() == [
        when,
        f"{meanwhile} {meanwhile} {meanwhile}",
        "refused refused refused",
    ], run.stderr
