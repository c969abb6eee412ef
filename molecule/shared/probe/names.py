"""A name server that knows one name and its address of IPv4, and refuses to speak of others.

Run as a program with both. It prints a line once it listens, answers until its standard input ends,
and then prints how often it was asked for that name.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading

QUESTION = 12  # where it begins, behind the head
ADDRESS = 1  # the type A
REFUSED = 5


def answer(query: bytes, name: str, address: str) -> tuple[bytes, bool]:
    """Return what to say, and whether it was asked for the name."""
    labels, end = [], QUESTION
    while length := query[end]:
        labels.append(query[end + 1 : end + 1 + length].decode().lower())
        end += 1 + length
    question = query[QUESTION : end + 5]
    (kind,) = struct.unpack("!H", question[-4:-2])
    known = ".".join(labels) == name
    found = known and kind == ADDRESS
    flags = 0x8580 if known else 0x8180 | REFUSED
    head = query[:2] + struct.pack("!5H", flags, 1, int(found), 0, 0)
    # The name is the one of the question; nobody may remember the address.
    record = struct.pack("!3HIH", 0xC00C, ADDRESS, 1, 0, 4) + socket.inet_aton(address)
    return head + question + (record if found else b""), known


def main() -> None:
    """Serve UDP 53."""
    name, address = sys.argv[1:]
    asked = 0

    def serve(server: socket.socket) -> None:
        nonlocal asked
        while True:
            query, peer = server.recvfrom(4096)
            said, known = answer(query, name, address)
            asked += known
            server.sendto(said, peer)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("0.0.0.0", 53))
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        print("ready", flush=True)
        sys.stdin.read()
        print(json.dumps(asked))


if __name__ == "__main__":
    main()
