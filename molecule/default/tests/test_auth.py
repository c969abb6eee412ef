"""A play closes the app: one owner, clients who are told how to log in, and tokens.

The tests stand in the order in which they happen, and end with a play back to what the scenario
has, so that the others find an app that asks nobody who they are.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from lab import ADDRESSES, PROTOCOLS, ROOT, Answer, Curl, instance, play, unit_pid
from testinfra.host import Host

SITE = str(ROOT / "playbooks/site.yml")
VERIFY = str(ROOT / "playbooks/verify.yml")
HASH = "/etc/codeintel/credentials/codeintel_owner_password"
UNSEEN = "/etc/codeintel/owner-password-unseen"
# What an administrator types; the folder is the service's.
CODEINTEL = "runuser -u codeintel -- /srv/codeintel/current/venv/bin/codeintel"
STATE = "--state-dir /var/lib/codeintel"
INSIDE = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect("/run/codeintel/http.sock")
connection.sendall(f"GET /api/{sys.argv[1]} HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n".encode())
print(connection.makefile().readline().split()[1])
"""
SHOWN = re.compile(r"The password of the owner of https://mcp\.test is ([a-z2-9-]+)")
RESOURCE = "https://mcp.test/.well-known/oauth-protected-resource"
GIVEN = "a password from a vault"


def deploy(*options: str, **variables: object) -> subprocess.CompletedProcess[str]:
    """Play with all that Ansible tells."""
    variables = {"mcp_app_auth": "owner", **variables}
    return play(SITE, "--diff", "-vvv", "-e", json.dumps(variables), *options)


def call(curl: Curl, token: str | None = None, protocol: str = "h2") -> Answer:
    """Call the tool that says what the app has."""
    prefix = "io.modelcontextprotocol"
    meta: dict[str, Any] = {
        f"{prefix}/protocolVersion": "2026-07-28",
        f"{prefix}/clientInfo": {"name": "tests", "version": "0"},
        f"{prefix}/clientCapabilities": {},
    }
    params = {"name": "status", "arguments": {}, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = [
        *("Content-Type: application/json", "Accept: application/json, text/event-stream"),
        *("MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: status"),
        *([f"Authorization: Bearer {token}"] if token else []),
    ]
    options = [option for header in headers for option in ("--header", header)]
    return curl("https://mcp.test/mcp", "--data", json.dumps(body), *options, protocol=protocol)


@pytest.fixture(scope="module", autouse=True)
def back_to_none() -> Iterator[None]:
    """Leave the app as the scenario has it, whatever happens here."""
    yield
    back = play(SITE)
    assert back.returncode == 0, back.stdout[-3000:]


@pytest.fixture(scope="module")
def password(curl: Curl) -> str:
    """Close the app without a password, and return the one that the play shows."""
    run = deploy()
    assert run.returncode == 0, run.stdout[-3000:]
    assert curl("https://mcp.test/api/livez").status == 200
    (shown,) = SHOWN.findall(run.stdout)
    assert run.stdout.count(shown) == 1  # not in a result, a difference or a command
    return str(shown)


def test_check_mode_makes_nothing(curl: Curl, target: Host) -> None:
    run = deploy("--check")
    assert run.returncode == 0, run.stdout[-3000:]
    assert "changed=0" not in run.stdout
    assert SHOWN.findall(run.stdout) == []
    assert not target.file(HASH).exists
    assert call(curl).status == 200


def test_a_password_that_nobody_has_seen_is_made_anew(target: Host) -> None:
    """A play that fails after it was made, but before its end."""
    broken = deploy(
        hypercorn_service_health_path="/no-such-path", hypercorn_service_start_timeout=5
    )
    assert broken.returncode != 0
    assert ".service: /no-such-path: status 404." in broken.stdout
    assert SHOWN.findall(broken.stdout) == []
    assert target.file(UNSEEN).exists
    unseen = target.file(HASH).content_string
    run = deploy()
    assert run.returncode == 0, run.stdout[-3000:]
    assert len(SHOWN.findall(run.stdout)) == 1
    assert target.file(HASH).content_string != unseen
    # For the tests that follow, there is none yet.
    assert target.run("rm %s", HASH).rc == 0


def test_the_password_is_shown_this_once(password: str, target: Host) -> None:
    assert re.fullmatch(r"([a-z2-9]{5}-){3}[a-z2-9]{5}", password)
    for options in ([], ["--check"]):
        again = deploy(*options)
        assert again.returncode == 0, again.stdout[-3000:]
        assert "changed=0" in again.stdout
        assert SHOWN.findall(again.stdout) == []
        assert password not in again.stdout
    file = target.file(HASH)
    assert (file.user, file.mode) == ("root", 0o600)
    assert file.content_string.startswith("scrypt:")
    assert not target.file(UNSEEN).exists


def test_nothing_of_it_is_on_the_host_in_clear(password: str, target: Host) -> None:
    places = "/etc /home /opt /root /run /srv /tmp /usr/local /var"
    # The pattern comes by standard input, so that it stands in no command.
    found = target.run(f"printf %%s %s | grep -rlaF -D skip -f - {places} 2>/dev/null", password)
    assert found.stdout == ""
    journal = target.run("journalctl --no-pager --output=export | grep -caF -e %s", password)
    assert journal.stdout.strip() == "0"


@pytest.mark.usefixtures("password")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_who_has_no_token_is_told_how_to_get_one(curl: Curl, protocol: str) -> None:
    refused = call(curl, protocol=protocol)
    assert refused.status == 401
    challenge = refused.headers["www-authenticate"]
    assert challenge.startswith("Bearer ")
    assert f'resource_metadata="{RESOURCE}/mcp"' in challenge
    assert call(curl, "not-a-token", protocol).status == 401
    for place in (RESOURCE, f"{RESOURCE}/mcp"):
        about = curl(place, protocol=protocol)
        assert about.status == 200
        assert about.json["resource"] == "https://mcp.test/mcp"
        issuers = [issuer.rstrip("/") for issuer in about.json["authorization_servers"]]
        assert issuers == ["https://mcp.test"]


@pytest.mark.usefixtures("password")
@pytest.mark.parametrize("name", ["oauth-authorization-server", "openid-configuration"])
def test_the_authorization_server_speaks_of_itself_as_the_public_does(
    curl: Curl, name: str
) -> None:
    about = curl(f"https://mcp.test/.well-known/{name}")
    assert about.status == 200
    assert about.json["issuer"].rstrip("/") == "https://mcp.test"
    endpoints = [value for key, value in about.json.items() if key.endswith("_endpoint")]
    assert len(endpoints) >= 3
    assert [value for value in endpoints if not value.startswith("https://mcp.test/")] == []
    assert about.json["code_challenge_methods_supported"] == ["S256"]
    assert "none" in about.json["token_endpoint_auth_methods_supported"]


@pytest.mark.usefixtures("password")
def test_what_says_how_the_app_does_needs_a_token_from_outside(curl: Curl, target: Host) -> None:
    token = target.check_output(f"{CODEINTEL} token add monitor {STATE}").split()[-1]
    for path, says in (("metrics", "codeintel_http_requests_total"), ("capz", "capabilities")):
        url = f"https://mcp.test/api/{path}"
        for protocol in PROTOCOLS:
            assert curl(url, protocol=protocol).status == 401
            tried = [
                curl(url, "--header", f"Authorization: Bearer {given}", protocol=protocol)
                for given in ("wrong", token)
            ]
            assert [answer.status for answer in tried] == [401, 200]
            assert says in tried[-1].body
        assert target.check_output("python3 -c %s %s", INSIDE, path) == "200"
    target.check_output(f"{CODEINTEL} token revoke monitor {STATE}")
    assert set(curl("https://mcp.test/api/readyz").json) == {"status"}
    assert curl("https://mcp.test/").status == 200


@pytest.mark.usefixtures("password")
def test_a_token_lets_in_until_it_is_revoked(curl: Curl, target: Host) -> None:
    made = target.run(f"{CODEINTEL} token add tests --expires 1d {STATE}")
    assert made.rc == 0, made.stderr
    token = made.stdout.split()[-1]
    for protocol in PROTOCOLS:
        answer = call(curl, token, protocol)
        assert answer.status == 200
        assert answer.json["result"].get("isError") is not True
    listed = target.run(f"{CODEINTEL} token list {STATE}").stdout
    assert "tests" in listed
    assert token not in listed
    database = target.file("/var/lib/codeintel/auth.sqlite")
    assert (database.user, database.mode) == ("codeintel", 0o600)
    assert target.run("grep -rlaF -e %s /var/lib/codeintel", token).stdout == ""
    # It outlives the service, and the end of all sessions, which are another thing.
    assert target.run("systemctl restart codeintel.service").rc == 0
    assert call(curl, token).status == 200
    ended = deploy(mcp_app_revoke_sessions=True)
    assert ended.returncode == 0, ended.stdout[-3000:]
    assert call(curl, token).status == 200
    assert target.run(f"{CODEINTEL} token revoke tests {STATE}").rc == 0
    assert call(curl, token).status == 401


@pytest.mark.usefixtures("password")
def test_verify_passes_with_a_token_and_without_one(target: Host) -> None:
    token = target.run(f"{CODEINTEL} token add verify {STATE}").stdout.split()[-1]
    ask = {"verify_from": "client", "verify_ca_path": "/etc/ssl/certs/ca-certificates.crt"}
    without = play(VERIFY, "-vv", "-e", json.dumps(ask))
    assert without.returncode == 0, without.stdout[-3000:]
    assert "mcp.2026-07-28.h3.authorization" in without.stdout
    having = play(
        VERIFY, "-vv", "-e", json.dumps(ask | {"verify_token": token, "verify_mcp_tool": "status"})
    )
    assert having.returncode == 0, having.stdout[-3000:]
    assert "mcp.2026-07-28.h3.tools_call" in having.stdout
    assert "mcp.2026-07-28.h3.authorization" not in having.stdout
    assert target.run(f"{CODEINTEL} token revoke verify {STATE}").rc == 0


def test_a_password_of_ones_own_takes_the_place_of_the_made_one(
    password: str, target: Host
) -> None:
    made = target.file(HASH).content_string
    run = deploy(mcp_app_owner_password=GIVEN)
    assert run.returncode == 0, run.stdout[-3000:]
    assert SHOWN.findall(run.stdout) == []
    # Ansible repeats its own command line, and nothing else says it.
    assert run.stdout.count(GIVEN) == run.stdout.count(f'"mcp_app_owner_password": "{GIVEN}"')
    assert target.file(HASH).content_string != made
    check = f"codeintel password --check {HASH}"
    path = "/srv/codeintel/current/venv/bin"
    assert target.run(f"printf '%%s\\n' %s | {path}/{check}", GIVEN).rc == 0
    assert target.run(f"printf '%%s\\n' %s | {path}/{check}", password).rc == 1
    again = deploy(mcp_app_owner_password=GIVEN)
    assert "changed=0" in again.stdout, again.stdout[-3000:]


@pytest.mark.usefixtures("password")
def test_the_sandbox_opens_for_documents_of_clients_and_closes_again(
    curl: Curl, target: Host
) -> None:
    def shown(*names: str) -> dict[str, str]:
        properties = ",".join(names)
        show = f"systemctl show -p {properties} %s"
        text = target.check_output(show, instance(target, "codeintel"))
        return dict(line.split("=", 1) for line in text.splitlines())

    names = ("PrivateNetwork", "RestrictAddressFamilies", "IPAddressDeny")
    closed = shown(*names)
    assert closed["PrivateNetwork"] == "yes"
    assert closed["RestrictAddressFamilies"] == "AF_UNIX"
    run = deploy(mcp_app_client_documents=True)
    assert run.returncode == 0, run.stdout[-3000:]
    opened = shown(*names)
    assert opened["PrivateNetwork"] == "no"
    assert {"AF_INET", "AF_INET6"} <= set(opened["RestrictAddressFamilies"].split())
    assert {"127.0.0.0/8", "10.0.0.0/8"} <= set(opened["IPAddressDeny"].split())
    assert call(curl).status == 401
    # The kernel keeps it from a neighbour that the host itself reaches.
    neighbour = f"exec 3<> /dev/tcp/{ADDRESSES['acme']}/15000"
    group = shown("ControlGroup")["ControlGroup"]
    enter = f"cd /sys/fs/cgroup/unified{group} 2>/dev/null || cd /sys/fs/cgroup{group}"
    within = f"{{ {enter}; }} && echo $$ > cgroup.procs || exit 2; {neighbour}"
    assert target.run("timeout 5 bash -c %s", neighbour).rc == 0
    assert target.run("timeout 5 bash -c %s", within).rc in {1, 124}  # refused, or no answer
    pid = unit_pid(target, "codeintel")
    # What it serves on is systemd's; it has no socket of the internet that waits for anybody.
    assert f"pid={pid}," not in target.run("ss -Hltunp").stdout
    again = deploy(mcp_app_client_documents=True)
    assert "changed=0" in again.stdout, again.stdout[-3000:]
    assert deploy().returncode == 0
    assert shown(*names) == closed


def test_back_to_none_the_password_is_gone(curl: Curl, target: Host) -> None:
    run = play(SITE)
    assert run.returncode == 0, run.stdout[-3000:]
    assert call(curl).status == 200
    assert not target.file(HASH).exists
    assert "owner" not in target.file("/etc/codeintel/environment").content_string
    unit = target.check_output("systemctl cat %s", instance(target, "codeintel"))
    assert "ExecStart=" in unit
    assert "codeintel_owner_password" not in unit
    assert "changed=0" in play(SITE).stdout
