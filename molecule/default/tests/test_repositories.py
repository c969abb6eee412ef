"""Repositories become indexes that the service reads and cannot write, and follow their origin.

The client serves two repositories, one to everybody and one to who has its key; a third is a folder
of the host. The tests stand in the order in which they happen, and leave the host without any.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from lab import ROOT, Curl, play, unit_pid
from testinfra.host import Host

SITE = str(ROOT / "playbooks/site.yml")
HOME = "/var/lib/codeintel-index"
LOCAL = "/home/somebody/local"

SERVE = """set -e
apt-get -qq update; apt-get -qq install --no-install-recommends git
rm -rf /srv/git; mkdir -p /srv/git; cd /srv/git
for name in lab private; do
  git init --quiet --initial-branch=main $name
  echo "the first $name needle" > $name/needle.txt
  git -C $name add .
  git -C $name -c user.name=x -c user.email=x@mcp.test commit --quiet --message=first
done
test -e key || ssh-keygen -q -t ed25519 -N '' -f key
may="command=\\"git-upload-pack /srv/git/private\\",restrict $(cat key.pub)"
grep -qF "$may" /root/.ssh/authorized_keys || echo "$may" >> /root/.ssh/authorized_keys
systemctl stop git-daemon 2>/dev/null || true
systemd-run --unit=git-daemon git daemon --base-path=/srv/git --export-all /srv/git/lab
"""
PROBE = """
import json, pathlib, socket
def attempt(act):
    try:
        act()
    except OSError as error:
        return f"refused: {error.strerror}"
    return "done"
def write(folder):
    path = pathlib.Path(folder, "probe.txt"); path.write_text("x"); path.unlink()
def listen(family, address):
    server = socket.socket(family); server.bind(address); server.listen()
folders = ["/etc", "/run", "/srv/codeintel", "/usr/local/lib/mcp_app", "/var/lib/codeintel",
           "HOME", "HOME/repositories/probe", "HOME/indexes"]
answers = {"write " + f: attempt(lambda: write(f)) for f in folders}
answers |= {"read " + f: attempt(lambda: pathlib.Path(f).read_text()) for f in (
    "/etc/codeintel/repositories/private", "/etc/codeintel/environment")}
answers["listen tcp"] = attempt(lambda: listen(socket.AF_INET, ("127.0.0.1", 0)))
answers["listen unix"] = attempt(lambda: listen(socket.AF_UNIX, "HOME/indexes/probe.socket"))
answers["connect"] = attempt(lambda: socket.create_connection(("client.test", 9418), 5))
pathlib.Path("HOME/indexes/probe.json").write_text(json.dumps(answers))
""".replace("HOME", HOME)
# The indexer's unit, with the probe in the place of what it runs.
PROBE_UNIT = """set -e
install -d -o codeintel-index -g codeintel-index {home}/repositories/probe
cat > /run/probe.py
mkdir -p /run/systemd/system/codeintel-index@probe.service.d
printf '[Service]\\nExecStart=\\nExecStart=/usr/bin/python3 /run/probe.py\\n' \\
  > /run/systemd/system/codeintel-index@probe.service.d/probe.conf
systemctl daemon-reload
systemctl start codeintel-index@probe.service
cat {home}/indexes/probe.json
"""
FORGET_PROBE = (
    f"rm -rf /run/systemd/system/codeintel-index@probe.service.d {HOME}/repositories/probe"
    f" {HOME}/indexes/probe.* /run/probe.py; systemctl daemon-reload"
)


@pytest.fixture(scope="module")
def repositories(client: Host, target: Host) -> list[dict[str, str]]:
    """Serve them, and return what a user writes to have them indexed."""
    served = client.run(SERVE)
    assert served.rc == 0, served.stderr
    made = target.run(
        f"install -d -m 700 $(dirname {LOCAL}); install -d {LOCAL};"
        f"echo 'the local needle' > {LOCAL}/needle.txt"
    )
    assert made.rc == 0, made.stderr
    key = client.file("/srv/git/key").content_string
    return [
        {"name": "lab", "url": "git://client.test/lab", "ref": "main", "schedule": "daily"},
        {"name": "private", "url": "root@client.test:/srv/git/private", "key": key},
        {"name": "local", "path": LOCAL},
    ]


def deploy(
    repositories: list[dict[str, str]], *options: str, **variables: object
) -> subprocess.CompletedProcess[str]:
    return play(
        SITE, *options, "-e", json.dumps({"mcp_app_repositories": repositories, **variables})
    )


def grep(curl: Curl, repository: str) -> str:
    """Return what the tool answers through nginx."""
    prefix = "io.modelcontextprotocol"
    meta: dict[str, Any] = {
        f"{prefix}/protocolVersion": "2026-07-28",
        f"{prefix}/clientInfo": {"name": "tests", "version": "0"},
        f"{prefix}/clientCapabilities": {},
    }
    arguments = {"pattern": "needle", "repository": repository}
    params = {"name": "grep", "arguments": arguments, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = (
        *("Content-Type: application/json", "Accept: application/json, text/event-stream"),
        *("MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: grep"),
    )
    options = [option for header in headers for option in ("--header", header)]
    return curl("https://mcp.test/mcp", "--data", json.dumps(body), *options).body


def test_check_mode_makes_nothing_and_hides_the_key(
    target: Host, repositories: list[dict[str, str]]
) -> None:
    run = deploy(repositories, "--check", "--diff", "-vvv")
    assert run.returncode == 0, run.stdout[-3000:]
    assert "changed=0" not in run.stdout
    assert not any(line in run.stdout for line in key_lines(repositories))
    assert target.run("getent passwd codeintel-index").rc != 0
    assert not target.file(HOME).exists


def key_lines(repositories: list[dict[str, str]]) -> set[str]:
    """Return the lines of the key that tell something."""
    return {line for line in repositories[1]["key"].splitlines() if "-----" not in line}


def test_a_play_indexes_and_the_tools_answer(
    curl: Curl, target: Host, repositories: list[dict[str, str]]
) -> None:
    run = deploy(repositories, "--diff", "-vvv")
    assert run.returncode == 0, run.stdout[-3000:]
    assert not any(line in run.stdout for line in key_lines(repositories))
    for name, words in (("lab", "first lab"), ("private", "first private"), ("local", "local")):
        assert f"the {words} needle" in grep(curl, name)
    timers = " ".join(f"codeintel-index@{repository['name']}.timer" for repository in repositories)
    assert target.run(f"systemctl is-active {timers}").stdout.split() == ["active"] * 3
    assert target.run(f"systemctl is-enabled {timers}").stdout.split() == ["enabled"] * 3
    again = deploy(repositories)
    assert "changed=0" in again.stdout, again.stdout[-3000:]


def test_the_timers_unit_brings_what_was_committed(curl: Curl, client: Host, target: Host) -> None:
    committed = client.run(
        "cd /srv/git/lab && echo 'the second lab needle' > needle.txt &&"
        " git -c user.name=x -c user.email=x@mcp.test commit --quiet --all --amend --message=second"
    )
    assert committed.rc == 0, committed.stderr
    assert target.run("systemctl start codeintel-index@lab.service").rc == 0
    assert "the second lab needle" in grep(curl, "lab")


def test_the_service_reads_the_indexes_and_writes_none(target: Host) -> None:
    """In the service's own view of the host, as its user."""
    pid = unit_pid(target, "codeintel")
    enter = f"nsenter --target {pid} --mount -- runuser -u codeintel --"
    index = target.check_output(f"ls {HOME}/indexes/lab.*.sqlite")
    assert target.run(f"{enter} head -c 6 {index}").stdout == "SQLite"
    for attempt in (f"touch {index}", f"touch {HOME}/indexes/new", f"rm {index}"):
        assert target.run(f"{enter} {attempt}").rc != 0
    # Nor without the unit's sandbox, nor anything of a clone.
    assert target.run(f"runuser -u codeintel -- touch {index}").rc != 0
    assert target.run(f"runuser -u codeintel -- ls {HOME}/repositories").rc != 0
    assert target.run(f"runuser -u nobody -- head -c 6 {index}").rc != 0


def test_the_indexer_writes_nothing_else_and_listens_to_nobody(
    target: Host, repositories: list[dict[str, str]]
) -> None:
    script = PROBE_UNIT.format(home=HOME)
    try:
        run = target.run("printf %%s %s | sh -c %s", PROBE, script)
        assert run.rc == 0, run.stderr
        answers = json.loads(run.stdout)
    finally:
        target.run(FORGET_PROBE)
    done = {what for what, answer in answers.items() if answer == "done"}
    assert done == {
        f"write {HOME}/repositories/probe", f"write {HOME}/indexes", "connect"
    }, answers  # fmt: skip
    for repository in repositories:
        unit = f"codeintel-index@{repository['name']}.service"
        shown = target.run(f"systemd-analyze security --no-pager --threshold=15 {unit}")
        assert shown.rc == 0, shown.stdout.splitlines()[-1]


def test_a_clone_that_fails_stops_the_play_and_the_app_runs_on(
    curl: Curl, target: Host, repositories: list[dict[str, str]]
) -> None:
    pid = unit_pid(target, "codeintel")
    moved = [repositories[0] | {"ref": "no-such-branch"}, *repositories[1:]]
    settings = {"CODEINTEL_LOG_LEVEL": "DEBUG"}
    for _ in range(2):  # the second run knows as well that it failed
        run = deploy(moved, mcp_app_settings=settings)
        assert run.returncode != 0
        assert "lab could not be fetched and indexed" in run.stdout
        assert "couldn't find remote ref no-such-branch" in run.stdout
    assert unit_pid(target, "codeintel") == pid
    assert "DEBUG" not in target.file("/etc/codeintel/environment").content_string
    assert "the second lab needle" in grep(curl, "lab")


def test_a_check_that_fails_stops_the_play_and_the_app_runs_on(
    target: Host, repositories: list[dict[str, str]]
) -> None:
    pid = unit_pid(target, "codeintel")
    settings = {"CODEINTEL_LOG_LEVEL": "DEBUG"}
    check = ["/bin/sh", "-c", "echo 'that is \"bad\"'; exit ${X-1}"]
    run = deploy(repositories, mcp_app_settings=settings, mcp_app_check_command=check)
    assert run.returncode != 0
    assert 'that is "bad"' in run.stdout.replace('\\"', '"')
    assert unit_pid(target, "codeintel") == pid
    assert "DEBUG" not in target.file("/etc/codeintel/environment").content_string


def test_what_is_no_longer_given_is_gone(
    curl: Curl, target: Host, repositories: list[dict[str, str]]
) -> None:
    run = deploy(repositories[2:])
    assert run.returncode == 0, run.stdout[-3000:]
    everything = target.run(
        f"ls -A {HOME}/repositories {HOME}/indexes /etc/codeintel/repositories;"
        "ls /etc/systemd/system /var/lib/systemd/timers | grep codeintel-index@"
    ).stdout
    assert "local" in everything
    for name in ("lab", "private"):
        assert name not in everything
    assert "the local needle" in grep(curl, "local")

    assert deploy([]).returncode == 0
    left = target.run("ls /etc/systemd/system | grep codeintel-index").stdout
    assert left == ""
    assert "changed=0" in deploy([]).stdout
