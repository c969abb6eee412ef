"""Datagrams of random bytes: python -m probe.junk sends half from one port, half each from another.

It prints a line when it begins, ends by itself within a few seconds, and prints how many were sent,
and how many the server's host refused.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass

from probe import program
from probe.origin import Origin

SIZE = 1200  # bytes, the least that a server takes for the first datagram of a client
PORT = 20000  # ours, and for more flows those after it, below what the kernel gives to others


@dataclass
class Report:
    """What became of the datagrams."""

    sent: int = 0
    refused: int = 0  # noticed by answers of ICMP


def flood(origin: Origin, one_flow: int, flows: int) -> Report:
    """Send so many datagrams from one port, and one each from so many other ports."""
    report = Report()
    _send(origin, PORT, one_flow, report)
    for port in range(PORT + 1, PORT + 1 + flows):
        _send(origin, port, 1, report)
    return report


def _send(origin: Origin, port: int, count: int, report: Report) -> None:
    with origin.udp(port) as udp:
        for _ in range(count):
            try:
                udp.send(os.urandom(SIZE))
                report.sent += 1
            except ConnectionRefusedError:
                report.refused += 1


def main() -> None:
    """Send them."""
    parser = program.arguments(__doc__)
    most = program.within(1, 20_000)
    parser.add_argument("--datagrams", type=most, default=5000, help="(%(default)s)")
    options = parser.parse_args()
    origin = program.where(options)
    program.ready()
    flows = options.datagrams // 2
    program.say(asdict(flood(origin, options.datagrams - flows, flows)))


if __name__ == "__main__":
    main()
