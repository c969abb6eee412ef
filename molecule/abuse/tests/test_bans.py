"""Who is refused too often is dropped, in open streams too, and nobody else notices."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable

import pytest
from lab import Companion, play, python_on, until
from misuse import OFFEND, STRANGERS6, Edge, address6, reached, wait_for_ban
from testinfra.host import Host

STREAM = "/api/sse?interval=0.05&count=10000"
FOREIGN = "https://evil.test"  # an Origin that the app refuses with 403


def test_ten_refusals_over_http3_end_everything_of_one_client_and_nothing_of_others(
    edge: Edge, attacker: Host, client: Host, strangers: Callable[[], str]
) -> None:
    stranger, neighbour = strangers(), strangers()
    where = ("--name", edge.name)
    theirs = Companion(attacker, "probe.watch", *where, "--source", stranger, STREAM)
    others = Companion(attacker, "probe.watch", *where, "--source", neighbour, STREAM)
    normal = Companion(client, "probe.watch", *where, STREAM)
    refused = python_on(attacker, OFFEND, edge.name, stranger, "10")
    wait_for_ban(edge, stranger)
    assert time.time() < refused + 2 + 1  # a second for looking by ssh
    for options in (
        ("--http2", edge.url()),
        ("--http3-only", edge.url()),
        (f"http://{edge.name}/",),
    ):
        assert not reached(attacker, edge, stranger, *options), options
        assert reached(attacker, edge, neighbour, *options), options
    ended = time.time()
    for protocol, record in theirs.result().items():
        print(protocol, record["bytes"], record["last_epoch"] - refused)
        assert record["pieces"] > 10, protocol
        assert record["last_epoch"] < refused + 2, protocol
    for watched in (others.result(), normal.result()):
        for protocol, record in watched.items():
            assert record["ending"] == "open", protocol
            assert record["last_epoch"] > ended - 0.5, protocol
            gaps = [b - a for a, b in zip(record["times"], record["times"][1:], strict=False)]
            assert max(gaps) < 1, protocol


def test_requests_over_the_limit_are_offences(
    edge: Edge, attacker: Host, strangers: Callable[[], str]
) -> None:
    stranger = strangers()
    urls = " ".join([edge.url()] * 150)
    attacker.run(f"curl -sS --max-time 8 --interface {stranger} --http2 {urls}")
    wait_for_ban(edge, stranger)
    assert not reached(attacker, edge, stranger)


@pytest.mark.parametrize("protocol", ["h2", "h3"])
def test_requests_that_are_cancelled_at_once_are_offences(
    edge: Edge, attacker: Host, strangers: Callable[[], str], protocol: str
) -> None:
    stranger = strangers()
    where = ("--name", edge.name, "--source", stranger)
    flood = Companion(attacker, "probe.rapid_reset", protocol, *where)
    wait_for_ban(edge, stranger)
    assert not reached(attacker, edge, stranger)
    flood.result()


@pytest.mark.parametrize("command", ["systemctl restart nftables", "systemctl stop nftables"])
def test_bans_and_limits_outlive_what_is_done_to_nftables(
    edge: Edge, attacker: Host, strangers: Callable[[], str], command: str
) -> None:
    stranger = strangers()
    python_on(attacker, OFFEND, edge.name, stranger, "10")
    wait_for_ban(edge, stranger)
    assert edge.host.run(f"systemctl start nftables && {command}").rc == 0
    wait_for_ban(edge, stranger)
    assert not reached(attacker, edge, stranger)
    assert until(edge.host, "nft list table inet mcp_edge_limits | grep -q 'ct count over 128'", 5)


def test_a_run_sets_again_what_somebody_flushed(
    edge: Edge, attacker: Host, strangers: Callable[[], str]
) -> None:
    stranger = strangers()
    python_on(attacker, OFFEND, edge.name, stranger, "10")
    wait_for_ban(edge, stranger)
    edge.host.run("nft flush ruleset")
    assert reached(attacker, edge, stranger)
    run = play("molecule/abuse/layers.yml", f"--limit={edge.inventory_name}")
    assert run.returncode == 0, run.stdout
    wait_for_ban(edge, stranger)
    assert not reached(attacker, edge, stranger)
    assert "ct count over 128" in edge.host.run("nft list table inet mcp_edge_limits").stdout


@pytest.mark.usefixtures("strangers")
def test_an_ipv6_client_is_banned_as_its_64(edge: Edge, attacker: Host) -> None:
    for host in range(1, 6):
        python_on(attacker, OFFEND, edge.name, address6(attacker, "b00", host), "2")
    wait_for_ban(edge, f"{STRANGERS6}:b00::/64")
    another = address6(attacker, "b00", 99)
    assert not reached(attacker, edge, another)
    assert not reached(attacker, edge, another, "--http3-only", edge.url())
    assert reached(attacker, edge, address6(attacker, "b01", 99))


def test_nobody_is_banned_for_less(
    edge: Edge, attacker: Host, strangers: Callable[[], str]
) -> None:
    """Nine refusals, and any number of 401 and 404, which a client meets who means no harm."""
    harmless, offender = strangers(), strangers()
    python_on(attacker, OFFEND, edge.name, harmless, "9")
    urls = " ".join([edge.url("/.well-known/oauth-protected-resource")] * 30)
    assert attacker.run(f"curl -sS --max-time 8 --interface {harmless} --http2 {urls}").rc == 0
    python_on(attacker, OFFEND, edge.name, offender, "10")
    wait_for_ban(edge, offender)  # by now the lines before those were read as well
    assert reached(attacker, edge, harmless)


def test_the_operator_is_never_banned(
    edge: Edge, attacker: Host, strangers: Callable[[], str]
) -> None:
    """Ansible runs here: this machine's address is exempt without being named anywhere."""
    offender = strangers()
    command = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "3"]
    command += ["--resolve", f"{edge.name}:443:{edge.address}", "-H", f"Origin: {FOREIGN}"]
    command.append(edge.url("/"))
    for _ in range(15):
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.stdout == "403"
    python_on(attacker, OFFEND, edge.name, offender, "10")
    wait_for_ban(edge, offender)
    assert subprocess.run(command, capture_output=True, text=True, check=False).stdout == "403"


def test_who_is_banned_can_be_seen_and_let_in_again(
    edge: Edge, attacker: Host, strangers: Callable[[], str]
) -> None:
    stranger = strangers()
    python_on(attacker, OFFEND, edge.name, stranger, "10")
    wait_for_ban(edge, stranger)
    listed = json.loads(edge.host.run("mcp-edge-bans --json").stdout)
    (ban,) = [ban for ban in listed if ban["address"] == stranger]
    assert (ban["jail"], ban["bans"]) == ("mcp-codeintel", 1)
    assert ban["why"].endswith("x 403, last GET /")
    assert ban["since"] < ban["until"]
    here = f"--limit={edge.inventory_name}"
    assert stranger in play("playbooks/bans.yml", here).stdout

    refused = play("playbooks/unban.yml", here, "--extra-vars=unban=office")
    assert refused.returncode != 0
    lifted = play("playbooks/unban.yml", here, f"--extra-vars=unban={stranger}")
    assert lifted.returncode == 0, lifted.stdout
    assert "changed=1" in lifted.stdout
    assert reached(attacker, edge, stranger)
    assert reached(attacker, edge, stranger, "--http3-only", edge.url())
    again = play("playbooks/unban.yml", here, f"--extra-vars=unban={stranger}")
    assert again.returncode == 0
    assert "changed=0" in again.stdout
