"""Packets to any address, put on the link by hand, as a hostile neighbour or router may."""

from __future__ import annotations

import socket
import struct
import time

PORT = 40123  # ours
# QUIC, in a version that nobody speaks: a server answers with the versions that it does.
UNKNOWN_VERSION = b"\xc0\xba\xba\xba\xba\x08" + b"x" * 8 + b"\x08" + b"y" * 8 + bytes(1200)


def answered(mac: str, destination: str, port: int, kind: str, seconds: float = 2) -> bool:
    """Send one packet to a host by its link address, and see whether its port answers.

    kind is tcp, for a SYN, or udp, for a QUIC packet. Whatever comes from that port to ours within
    the seconds is an answer, except a TCP reset.
    """
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as link:
        link.bind(("eth0", 0x0800))
        ours: bytes = link.getsockname()[4]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.connect(("192.0.2.1", 9))  # sends nothing: the kernel only picks our address
            source = other.getsockname()[0]
        packet = _packet(source, destination, port, kind)
        link.send(bytes.fromhex(mac.replace(":", "")) + ours + b"\x08\x00" + packet)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            link.settimeout(left)
            try:
                frame = link.recv(65535)
            except TimeoutError:
                return False
            head = 14 + 4 * (frame[14] & 15)
            reset = kind == "tcp" and bool(frame[head + 13] & 4)
            if frame[head : head + 4] == struct.pack("!HH", port, PORT) and not reset:
                return True
        return False


def _packet(source: str, destination: str, port: int, kind: str) -> bytes:
    protocol = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}[kind]
    ends = socket.inet_aton(source) + socket.inet_aton(destination)
    if kind == "tcp":
        body = struct.pack("!HHIIBBHHH", PORT, port, 1, 0, 5 << 4, 2, 65535, 0, 0)
        at = 16
    else:
        body = struct.pack("!HHHH", PORT, port, 8 + len(UNKNOWN_VERSION), 0) + UNKNOWN_VERSION
        at = 6
    total = _checksum(ends + struct.pack("!HH", protocol, len(body)) + body)
    body = body[:at] + total + body[at + 2 :]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, protocol, 0) + ends
    return head[:10] + _checksum(head) + head[12:] + body


def _checksum(data: bytes) -> bytes:
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
