"""What the filter takes for an offence: refusals, whatever a client puts into its request.

The lines are those that nginx (escape=json) and hypercorn_edge (json.dumps) write, and fail2ban's
own fail2ban-regex reads them, by the filter that is installed: of Debian 13, and of Debian 12.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab import ADDRESSES as HOSTS
from lab import KEY, SSH

BEGIN = datetime(2026, 11, 22, 19, tzinfo=UTC)
ADDRESSES = {
    "192.0.2.1": "192.0.2.1",
    "198.51.100.254": "198.51.100.254",
    "2001:db8:0:1::5": "2001:db8:0:1::/64",
    "2001:db8::1": "2001:db8::/64",
    "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
    "fe80::1": "fe80::/64",
}
# What a client would have others banned for: no line has this net where the server puts it.
FORGED = (
    '{"time":"2026-11-22T19:00:00+00:00","status":"403","address":"203.0.113.9",'
    '"net":"203.0.113.9","protocol":"HTTP/3.0"}'
)
INSIDE = FORGED.strip("{}")
CRAFTED = [
    "",
    "/",
    '"',
    '""',
    "\\",
    "\\\\",
    '\\"',
    FORGED,
    INSIDE,
    f'",{INSIDE},"x":"',
    f'"}}{FORGED}',
    f'"}}\n{FORGED}',
    f'"}}\r\n{FORGED}\r\n',
    f"\n{FORGED}",
    f"\r{FORGED}",
    f"\x0b{FORGED}",
    f"\x0c{FORGED}",
    f"\x1c{FORGED}",
    f"\x1d{FORGED}",
    f"\x1e{FORGED}",
    f"\x85{FORGED}",
    f"\u2028{FORGED}",
    f"\u2029{FORGED}",
    f"\x00{FORGED}",
    f"\x1b[2K{FORGED}",
    f"\x7f{FORGED}",
    f"\b\b\b{FORGED}",
    f"\\n{FORGED}",
    f"\\u000a{FORGED}",
    f"%0a{FORGED}",
    f"%22%7D%0A{FORGED}",
    f"\nhost codeintel-access[1]: {FORGED}",
    f"host codeintel-access[1]: {FORGED}",
    f"\n2026-11-22T19:00:00+00:00 host codeintel-access[1]: {FORGED}",
    '"status":"403"',
    '","status":"403","address":"203.0.113.9","net":"203.0.113.9","',
    '","net":"203.0.113.9","',
    '"net":"203.0.113.9"',
    '","net":"203.0.113.0/24","',
    '","net":"2001:db8:bad::/64","',
    '","net":"::/0","',
    "203.0.113.9",
    "[203.0.113.9]",
    "::ffff:203.0.113.9",
    "2001:db8:bad::9",
    "[2001:db8:bad::9]:443",
    "2001:db8:bad::/64",
    "fe80::9%eth0",
    '{"time":"',
    '{"time":"2026-11-22T19:00:00+00:00"',
    "2026-11-22T19:00:00+00:00",
    "<HOST>",
    "<SUBNET>",
    "%(statuses)s",
    "(?P<ip4>203.0.113.9)",
    "<F-ID>203.0.113.9</F-ID>",
    "403",
    " 403 ",
    "$status",
    "x" * 40_000,
    '"' * 5_000,
    "\n" * 5_000 + FORGED,
    "\xff\xfe" + FORGED,
    "\udcff\udcfe\n" + FORGED,
    "\udcc3" + FORGED,
    "\udce2\udc80",
    "\U0001f600" + FORGED,
    "\u202e" + FORGED,
    "ｎｅｔ",  # noqa: RUF001 - letters that only look like those of a field
]

Find = Callable[[Sequence[bytes]], list[str]]


@dataclass(frozen=True)
class Request:
    """What a server notes of a request; `sent` is what its client chose."""

    status: int
    address: str
    sent: str

    def fields(self, time: str) -> dict[str, str]:
        """Return the fields in the order of the log."""
        return {
            "time": time,
            "status": str(self.status),
            "address": self.address,
            "net": ADDRESSES[self.address],
            "protocol": "HTTP/3.0",
            "host": self.sent,
            "method": self.sent,
            "uri": self.sent,
            "user_agent": self.sent,
        }

    @property
    def counts(self) -> bool:
        return self.status in {403, 429}


def escaped(value: str) -> bytes:
    """Escape as nginx does with escape=json: bytes from 0x7f on stay as they are."""
    short = {8: b"\\b", 9: b"\\t", 10: b"\\n", 12: b"\\f", 13: b"\\r", 34: b'\\"', 92: b"\\\\"}
    return b"".join(
        short.get(byte) or (b"\\u%04X" % byte if byte < 32 else bytes([byte]))
        for byte in value.encode("utf-8", "surrogateescape")
    )


def by_nginx(request: Request, moment: datetime) -> bytes:
    """Return the line of the access log in the terminating topology."""
    fields = request.fields(moment.isoformat(timespec="seconds"))
    return b"{%s}" % b",".join(b'"%s":"%s"' % (k.encode(), escaped(v)) for k, v in fields.items())


def by_server(request: Request, moment: datetime) -> bytes:
    """Return the journal's entry in the passthrough topology, as fail2ban makes a line of it."""
    fields = request.fields(moment.isoformat(timespec="milliseconds"))
    return b"host my-app-access[123]: " + json.dumps(fields, separators=(",", ":")).encode()


WRITERS = (by_nginx, by_server)


FILTER = "/etc/fail2ban/filter.d/mcp-edge.conf"


def on(host: str, command: str, data: bytes = b"") -> str:
    """Run a shell command on a host with that as its standard input."""
    ssh = ["ssh", "-i", KEY, *SSH.split(), f"root@{HOSTS[host]}", command]
    return subprocess.run(
        ssh, input=data, capture_output=True, check=True, timeout=60
    ).stdout.decode()


def finder(host: str, path: str = FILTER) -> Find:
    """Return a function that gives the net of each line that fail2ban takes for an offence."""
    regex = f"fail2ban-regex --usedns=no --encoding=UTF-8 --out=id /tmp/access.log {path}"

    def find(lines: Sequence[bytes]) -> list[str]:
        data = b"".join(line + b"\n" for line in lines)
        return on(host, f"cat > /tmp/access.log && {regex}", data).splitlines()

    return find


@pytest.fixture(scope="module", params=["target", "elder"])
def host(request: pytest.FixtureRequest) -> str:
    """A host of each version."""
    return str(request.param)


@pytest.fixture(scope="module")
def find(host: str) -> Find:
    """Ask the filter that is installed."""
    return finder(host)


def written(requests: Sequence[Request]) -> list[bytes]:
    """Let every server write every request, one each second."""
    return [
        write(request, BEGIN + timedelta(seconds=second))
        for write in WRITERS
        for second, request in enumerate(requests)
    ]


def expected(requests: Sequence[Request]) -> list[str]:
    return [ADDRESSES[request.address] for request in requests if request.counts] * len(WRITERS)


def crafted(*statuses: int) -> list[Request]:
    addresses = list(ADDRESSES)
    return [
        Request(status, addresses[number % len(addresses)], sent)
        for status in statuses
        for number, sent in enumerate(CRAFTED)
    ]


def test_there_is_enough_that_is_crafted() -> None:
    assert len(set(CRAFTED)) >= 60


def test_no_word_of_a_client_makes_an_offence(find: Find) -> None:
    requests = crafted(200, 301, 401, 404, 500)
    assert find(written(requests)) == []


def test_an_offence_is_found_with_the_net_of_its_client(find: Find) -> None:
    requests = crafted(403, 429)
    assert find(written(requests)) == expected(requests)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.builds(
            Request,
            status=st.sampled_from([200, 400, 401, 403, 404, 429, 499]),
            address=st.sampled_from(list(ADDRESSES)),
            sent=st.lists(
                st.sampled_from(CRAFTED[:59]) | st.text(max_size=20) | st.just('"'), max_size=4
            ).map("".join),
        ),
        min_size=20,
        max_size=60,
    )
)
def test_whatever_is_sent_the_offences_are_those_of_the_server(
    find: Find, requests: list[Request]
) -> None:
    assert find(written(requests)) == expected(requests)


@pytest.mark.parametrize(
    "line",
    [
        FORGED.replace('"net":"203.0.113.9"', '"net":"unix:"'),
        FORGED.replace('"address":"203.0.113.9"', '"address":"unix:"'),
        FORGED.replace('"net":"203.0.113.9"', '"net":"example.com"'),
        FORGED.replace('"net":"203.0.113.9",', ""),
        FORGED.replace('"status":"403"', '"status":"4030"'),
        FORGED.replace('"status":"403"', '"status":403'),
        FORGED[:60],
        f" {FORGED}",
        f"x{FORGED}",
        f"host other[1]: {FORGED}",
        f"host codeintel[1]: {FORGED}",
        f"GET / {FORGED}",
    ],
)
def test_a_line_of_another_form_is_no_offence(find: Find, line: str) -> None:
    assert find([line.encode()]) == []


@pytest.mark.parametrize("beginning", ["^.*", ""])
def test_an_expression_that_is_not_anchored_would_be_deceived(
    host: str, find: Find, beginning: str
) -> None:
    anchored = r"failregex = ^(?:[\w.-]{1,64} [a-z0-9-]{1,31}-access\[\d+\]: )?"
    text = on(host, f"cat {FILTER}")
    assert anchored in text
    path = "/tmp/filter.d/mcp-edge.conf"
    unsound = text.replace(anchored, f"failregex = {beginning}")
    on(host, f"mkdir -p /tmp/filter.d && cat > {path}", unsound.encode())
    lines = [b'{"user_agent":"%s"}' % FORGED.encode(), b"GET / " + FORGED.encode()]
    assert find(lines) == []
    assert finder(host, path)(lines) == ["203.0.113.9"] * len(lines)
