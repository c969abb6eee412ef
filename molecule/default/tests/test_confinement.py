"""What the services may do, seen from inside their sandboxes and from the network."""

from __future__ import annotations

import pytest
from lab import ADDRESSES, Curl, instance, python_on, unit_pid, until
from testinfra.host import Host

SCAN = """
import asyncio, json, sys
async def open_port(address, port, slots):
    async with slots:
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 2)
        except (OSError, asyncio.TimeoutError):
            return None
        writer.close()
        return port
async def main():
    slots = asyncio.Semaphore(500)
    ports = await asyncio.gather(*(open_port(sys.argv[1], p, slots) for p in range(1, 65536)))
    return [p for p in ports if p]
print(json.dumps(asyncio.run(main())))
"""


def test_only_80_and_443_are_open_beside_ssh(client: Host, target: Host) -> None:
    assert python_on(client, SCAN, ADDRESSES["target"]) == [22, 80, 443]
    udp = target.run("ss -Hlnu").stdout.splitlines()
    assert {line.split()[3] for line in udp} == {"0.0.0.0:443", "[::]:443"}


def test_the_app_has_no_network(curl: Curl) -> None:
    places = [f"{ADDRESSES['acme']}:14000", f"{ADDRESSES['target']}:80", "127.0.0.1:80", "[::1]:80"]
    query = "&".join(f"connect={place}" for place in places)
    answers = curl(f"https://echo.test/may?{query}").json
    assert len(answers) == len(places)
    assert all(answer.startswith("refused") for answer in answers.values()), answers


def test_the_app_writes_to_its_state_directory_only(curl: Curl) -> None:
    folders = [
        *("/var/lib/echo", "/var/lib/codeintel", "/var/log", "/etc", "/etc/echo", "/home", "/root"),
        *("/run", "/run/echo", "/srv/echo/current", "/usr/local"),
    ]
    answers = curl("https://echo.test/may?" + "&".join(f"write={f}" for f in folders)).json
    done = [what for what, answer in answers.items() if answer == "done"]
    assert done == ["write /var/lib/echo"], answers


def test_a_secret_reaches_the_app_and_nobody_else(curl: Curl, target: Host) -> None:
    assert curl("https://echo.test/may?read=token").json == {"read token": "a-secret-of-the-tests"}
    file = target.file("/etc/echo/credentials/token")
    assert (file.user, file.mode) == ("root", 0o600)
    show = "systemctl show echo.service %s; cat /etc/echo/environment"
    assert "a-secret" not in target.check_output(show, instance(target, "echo"))


def test_settings_reach_the_app_as_they_were_written(target: Host) -> None:
    pid = unit_pid(target, "echo")
    environment = target.run(f"cat /proc/{pid}/environ").stdout.split("\0")
    assert 'GREETING=say "hi" for $5 \\ or not' in environment


@pytest.mark.parametrize(
    ("name", "most"), [("codeintel", 0.5), ("echo", 0.5), ("nginx.service", 2.5)]
)
def test_exposure(target: Host, name: str, most: float) -> None:
    unit = name if name.endswith(".service") else instance(target, name)
    result = target.run(f"systemd-analyze security --no-pager --threshold={most * 10:.0f} {unit}")
    assert result.rc == 0, result.stdout.splitlines()[-1]


def test_limits_are_in_force(target: Host) -> None:
    show = "systemctl show -p MemoryMax,TasksMax,LimitNOFILE %s"
    shown = target.check_output(show, instance(target, "codeintel"))
    assert set(shown.split()) == {"MemoryMax=1073741824", "TasksMax=256", "LimitNOFILE=16384"}
    backlog = target.run("ss -Hlx src /run/codeintel/http.sock").stdout.split()
    assert backlog[3] == "2048"
    socket = target.file("/run/codeintel/http.sock")
    assert (socket.group, socket.mode) == ("www-data", 0o660)


def test_one_process_serves_and_stops_gracefully(curl: Curl, client: Host, target: Host) -> None:
    """A call that is in flight when the service is restarted gets its answer."""
    pid = unit_pid(target, "echo")
    assert target.run(f"pgrep -P {pid}").stdout == ""
    client.run("rm -f /tmp/slow; curl -sSN https://echo.test/slow > /tmp/slow 2>&1 &")
    assert until(client, "grep -q started /tmp/slow")
    assert target.run("systemctl restart echo.service").rc == 0
    assert until(client, "! pgrep curl")
    assert client.file("/tmp/slow").content_string == "started\ndone\n"
    assert curl("https://echo.test/").status == 200


def test_units_return_after_a_crash(curl: Curl, target: Host) -> None:
    unit, pid = instance(target, "echo"), unit_pid(target, "echo")
    target.check_output("systemctl kill --signal=KILL %s nginx.service", unit)
    assert until(target, "systemctl is-active -q nginx && ss -Hltn sport = :443 | grep -q .")
    assert curl("https://echo.test/").status == 200
    assert instance(target, "echo") == unit
    assert unit_pid(target, "echo") != pid


def test_rendered_files_are_tested_and_pleasant(target: Host) -> None:
    assert target.run("nginx -t -q").rc == 0
    site = target.file("/etc/nginx/conf.d/codeintel.conf").content_string
    assert site.startswith("# Ansible managed by codeintel.mcp_edge")
    assert "\n\n\n" not in site
    assert " if " not in site
