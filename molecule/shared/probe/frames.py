"""HTTP/3 frames and QPACK field lines, also such as no encoder would write."""

from __future__ import annotations

from collections.abc import Iterable

from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import FrameType, Setting, StreamType

Fields = list[tuple[bytes, bytes]]
REQUEST: Fields = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"echo.test"),
    (b":path", b"/fuzz"),
]


def frame(kind: int, payload: bytes, length: int | None = None) -> bytes:
    """Return a frame, whose length may be a lie."""
    size = len(payload) if length is None else length
    return encode_uint_var(kind) + encode_uint_var(size) + payload


def integer(value: int, bits: int, flags: int) -> bytes:
    """Return QPACK's number with a prefix of some bits (RFC 7541, section 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([flags | value])
    out = bytearray([flags | most])
    value -= most
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def block(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a field section of literals, without a table and without Huffman's code."""
    out = bytearray(b"\x00\x00")
    for name, value in fields:
        out += integer(len(name), 3, 0x20) + name + integer(len(value), 7, 0) + value
    return bytes(out)


def headers(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a HEADERS frame."""
    return frame(FrameType.HEADERS, block(fields))


def data(payload: bytes) -> bytes:
    """Return a DATA frame."""
    return frame(FrameType.DATA, payload)


def request(**changes: bytes) -> Fields:
    """Return the fields of a good request; the names of changes stand for pseudo headers."""
    return [(name, changes.get(name[1:].decode(), value)) for name, value in REQUEST]


def settings(pairs: Iterable[tuple[int, int]]) -> bytes:
    """Return a SETTINGS frame."""
    numbers = [encode_uint_var(number) for pair in pairs for number in pair]
    return frame(FrameType.SETTINGS, b"".join(numbers))


# A good beginning of our control stream: no dynamic table, so that answers stand for themselves.
CONTROL = encode_uint_var(StreamType.CONTROL) + settings(
    [(Setting.QPACK_MAX_TABLE_CAPACITY, 0), (Setting.QPACK_BLOCKED_STREAMS, 0)]
)
ENCODER = encode_uint_var(StreamType.QPACK_ENCODER)
DECODER = encode_uint_var(StreamType.QPACK_DECODER)
