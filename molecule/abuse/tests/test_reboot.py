"""What is in force comes back by itself when the host does."""

from __future__ import annotations

from collections.abc import Callable

from lab import python_on, reboot, until
from misuse import OFFEND, Edge, reached, wait_for_ban
from testinfra.host import Host


def test_bans_and_limits_survive_a_reboot(
    edge: Edge, attacker: Host, client: Host, strangers: Callable[[], str]
) -> None:
    stranger, neighbour = strangers(), strangers()
    python_on(attacker, OFFEND, edge.name, stranger, "10")
    wait_for_ban(edge, stranger)
    reboot(edge.inventory_name)
    asked = f"curl -sS --max-time 2 -o /dev/null {edge.url()}"
    assert until(client, f"{asked} --http2 && {asked} --http3-only", 40)
    wait_for_ban(edge, stranger)
    assert not reached(attacker, edge, stranger)
    assert not reached(attacker, edge, stranger, "--http3-only", edge.url())
    assert reached(attacker, edge, neighbour)
    assert "ct count over 128" in edge.host.run("nft list table inet mcp_edge_limits").stdout
