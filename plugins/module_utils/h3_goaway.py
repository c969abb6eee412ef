# Copyright: (c) 2026, codeintel.mcp_edge contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""GOAWAY, the frame by which an HTTP/3 server says that it takes no more requests."""

from __future__ import annotations

import contextlib

from aioquic.h3.connection import FrameType, StreamType


class ControlStream:
    """The frames of a stream that the server opened, if that is its control stream.

    aioquic skips GOAWAY, so that frame is looked for here.
    """

    def __init__(self) -> None:
        """Begin with the stream's type."""
        self._pending = b""
        self._type: int | None = None

    def feed(self, data: bytes) -> int | None:
        """Return the number of the first request that a GOAWAY refuses, if one has come."""
        self._pending += data
        first_refused = None
        with contextlib.suppress(IndexError):  # the rest of the frame is to come
            if self._type is None:
                self._type, self._pending = _number(self._pending)
            while self._type == StreamType.CONTROL:
                frame_type, rest = _number(self._pending)
                size, rest = _number(rest)
                if len(rest) < size:
                    break
                if frame_type == FrameType.GOAWAY:
                    first_refused, _ = _number(rest[:size])
                self._pending = rest[size:]
        if self._type not in {None, StreamType.CONTROL}:
            self._pending = b""
        return first_refused


def _number(data: bytes) -> tuple[int, bytes]:
    """Split off a variable-length number (RFC 9000, section 16)."""
    size = 1 << (data[0] >> 6)
    if len(data) < size:
        raise IndexError(size)
    return int.from_bytes(data[:size]) & ((1 << (8 * size - 2)) - 1), data[size:]
