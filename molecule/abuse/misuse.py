"""The endpoints of the scenario, and who misuses them."""

from __future__ import annotations

from dataclasses import dataclass

from lab import NET, until
from testinfra.host import Host

STRANGERS = [f"10.203.{NET}.{last}" for last in range(101, 250)]
# Of a network of its own, as the hosts of the lab share their /64.
STRANGERS6 = f"fd53:203:1{NET}"

# Is refused that often, over one connection; gives the time of the last answer.
OFFEND = """
import asyncio, json, sys, time
from probe import origin
name, source, count = sys.argv[1:]

async def main():
    async with origin.find(name, source=source).quic() as connection:
        for _ in range(int(count)):
            answer = await connection.ask("GET", "/", headers=[("origin", "https://evil.test")])
            assert answer.status == 403, answer.status
    return time.time()
print(json.dumps(asyncio.run(main())))
"""


@dataclass(frozen=True)
class Edge:
    """An endpoint in one of the topologies."""

    inventory_name: str
    host: Host
    name: str
    address: str

    def url(self, path: str = "/api/livez") -> str:
        """Return the address of a path."""
        return f"https://{self.name}{path}"


def address6(attacker: Host, net: str, host: int) -> str:
    """Give the attacker an IPv6 address in a /64 of its own that has that number."""
    address = f"{STRANGERS6}:{net}::{host}"
    assert attacker.run(f"ip -6 address replace {address}/128 dev lo nodad").rc == 0
    return address


def reached(host: Host, edge: Edge, source: str, *options: str) -> bool:
    """Say whether an answer comes for that address."""
    family = "-6" if ":" in source else "-4"
    command = f"curl -sS -o /dev/null --max-time 2 {family} --interface {source} "
    return bool(host.run(command + " ".join(options or ("--http2", edge.url()))).rc == 0)


def wait_for_ban(edge: Edge, address: str) -> None:
    assert until(edge.host, f"nft list table inet f2b-mcp-codeintel | grep -qF '{address}'", 5)
