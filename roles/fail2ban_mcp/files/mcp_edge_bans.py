#!/usr/bin/python3
# Managed by Ansible: codeintel.mcp_edge.fail2ban_mcp
"""Show whom fail2ban keeps from the MCP endpoints of this host, and let clients in again."""

from __future__ import annotations

import argparse
import ast
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any

DATABASE = Path("/var/lib/fail2ban/fail2ban.sqlite3")
JAILS = "mcp-"
LONGEST = 60  # characters of what a client sent

Network = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Ban:
    """One line of the list; times are in UTC."""

    address: str
    jail: str
    since: str
    until: str
    bans: int
    why: str


def fail2ban(*words: str) -> str:
    """Return what fail2ban answers to a command; stop with its complaint if it does not."""
    run = subprocess.run(  # noqa: S603 - the words are jails of fail2ban's and addresses
        ["/usr/bin/fail2ban-client", *words], capture_output=True, text=True, check=False
    )
    if run.returncode != 0:
        complaint = (run.stderr or run.stdout).strip()
        print(f"mcp-edge-bans: fail2ban does not answer: {complaint}", file=sys.stderr)
        sys.exit(3)
    return run.stdout


def banned() -> list[tuple[str, str]]:
    """Return the jail and the address, an IPv6 one as its /64, of everyone who is kept out."""
    jails: list[dict[str, list[str]]] = ast.literal_eval(fail2ban("banned"))
    return [
        (name, address)
        for jail in jails
        for name, addresses in jail.items()
        if name.startswith(JAILS)
        for address in addresses
    ]


def known(database: Path) -> dict[tuple[str, str], tuple[int, int, int, str]]:
    """Return the time, the seconds, the count and the matches of each ban, by jail and address."""
    if not database.exists():
        return {}
    query = "SELECT jail, ip, timeofban, bantime, bancount, data FROM bips"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return {(jail, ip): tuple(row) for jail, ip, *row in connection.execute(query)}


def bans(who: Iterable[tuple[str, str]], database: Path) -> list[Ban]:
    """Return who is kept out with all that fail2ban remembers, the latest first."""
    notes = known(database)
    listed = []
    for jail, address in who:
        since, seconds, count, data = notes.get((jail, address), (0, 0, 1, "{}"))
        until = "for ever" if seconds < 0 else moment(since + seconds)
        listed.append(Ban(address, jail, moment(since), until, count, reason(json.loads(data))))
    return sorted(listed, key=lambda ban: ban.since, reverse=True)


def moment(seconds: int) -> str:
    """Return a time in words; fail2ban may not have noted it yet."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S") if seconds else "?"


def reason(data: Mapping[str, Any]) -> str:
    """Tell of the requests that led to a ban, such as "10 x 403, last GET /admin"."""
    requests = [request for line in data.get("matches") or [] if (request := parsed(line))]
    if not requests:
        return "?"
    statuses = "/".join(sorted({harmless(request.get("status")) for request in requests}))
    count = data.get("failures", len(requests))
    last = f"{harmless(requests[-1].get('method'))} {harmless(requests[-1].get('uri'))}"
    return f"{count} x {statuses}, last {last}"


def parsed(line: str | Sequence[str]) -> dict[str, Any] | None:
    """Return the fields of a line, which fail2ban keeps whole or cut around its time."""
    _, brace, rest = "".join(line).partition("{")
    try:
        fields_of_line = json.loads(brace + rest, strict=False)
    except ValueError:
        return None
    return fields_of_line if isinstance(fields_of_line, dict) else None


def harmless(sent: object) -> str:
    """Return what a client sent so that no terminal obeys it, and not more than fits in a line."""
    text = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in str(sent)[: LONGEST + 1]
    )
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def table(rows: Sequence[Ban]) -> str:
    """Return the bans in aligned columns with their names above."""
    names = [field.name for field in fields(Ban)]
    lines = [[name.upper() for name in names]]
    lines += [[str(getattr(row, name)) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def unban(networks: Sequence[Network]) -> int:
    """Let clients in again, each ban that a network meets; return 1 if one of them met none."""
    who = banned()
    missed = 0
    for network in networks:
        lifted = [(jail, kept) for jail, kept in who if ip_network(kept).overlaps(network)]
        for jail, kept in lifted:
            fail2ban("set", jail, "unbanip", kept)
            print(f"{words(network)}: {kept} is no longer banned by {jail}")
        if not lifted:
            print(f"{words(network)}: was not banned")
            missed = 1
    return missed


def words(network: Network) -> str:
    """Return an address without the length that makes a network of it."""
    return str(network.network_address if network.num_addresses == 1 else network)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(prog="mcp-edge-bans", description=__doc__)
    parser.add_argument("--json", action="store_true", help="list them as JSON")
    commands = parser.add_subparsers(dest="command", metavar="unban")
    lift = commands.add_parser("unban", help="let clients in again")
    lift.add_argument(
        "address", nargs="+", type=ip_network, help="an IPv6 address stands for its /64"
    )
    given = parser.parse_args(arguments)

    if given.command == "unban":
        return unban(given.address)
    listed = bans(banned(), DATABASE)
    if given.json:
        print(json.dumps([asdict(ban) for ban in listed], indent=2))
    else:
        print(table(listed) if listed else "nobody is banned")
    return 0


if __name__ == "__main__":
    sys.exit(main())
