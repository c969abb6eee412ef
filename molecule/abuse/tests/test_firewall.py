"""The firewall: what comes in, and that it never shuts its owner out."""

from __future__ import annotations

import json
import time
from typing import Any

from lab import ADDRESSES, ROOT, Curl, play, until
from testinfra.host import Host

ADDRESS = ADDRESSES["twin"]


def configure(**variables: Any) -> int:  # noqa: ANN401 - of the role
    """Configure the host with some variables as given; return ansible-playbook's status."""
    extra = {"nginx_quic_firewall": True} | variables
    arguments = ("--limit=twin", f"--extra-vars={json.dumps(extra)}")
    result = play(f"{ROOT}/molecule/abuse/nginx.yml", *arguments)
    print(result.stdout[-3000:])
    return result.returncode


def answers(client: Host, port: int) -> bool:
    return bool(client.run(f"curl -s --max-time 2 http://{ADDRESS}:{port}/").rc == 0)


def test_nothing_else_comes_in_and_the_owner_is_never_shut_out(client: Host, twin: Host) -> None:
    for port in (9100, 9200):
        twin.run(f"systemd-run --collect --unit=other-{port} python3 -m http.server {port}")
        assert until(client, f"curl -s --max-time 2 http://{ADDRESS}:{port}/"), port
    assert configure(nginx_quic_firewall_open_ports=["9100/tcp"]) == 0
    try:
        assert answers(client, 9100)
        assert not answers(client, 9200)
        for protocol in ("h1", "h2", "h3"):
            assert Curl(client)("https://twin.test/api/livez", protocol=protocol).status == 200
        assert Curl(client)("http://twin.test/", protocol="h1").status == 301

        assert twin.run("systemctl restart nftables").rc == 0
        assert until(twin, "nft list table inet mcp_edge_firewall >/dev/null 2>&1", 5)
        assert not answers(client, 9200)

        begin = time.monotonic()
        shut_out = {"__nginx_quic_ssh_ports": [2222], "__nginx_quic_firewall_trial": 12}
        assert configure(**shut_out) != 0
        assert until(client, f"curl -s --max-time 1 telnet://{ADDRESS}:22 </dev/null | grep -q SSH")
        assert time.monotonic() - begin < 90
        assert twin.run("true").rc == 0
        assert answers(client, 9100), "what was there before is back"
        assert not answers(client, 9200)
    finally:
        assert configure(nginx_quic_firewall=False) == 0
        assert answers(client, 9200)
        twin.run("systemctl stop other-9100 other-9200")
