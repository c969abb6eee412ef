"""Write lines to systemd's journal under an identifier that what the app prints does not have."""

import os
import socket
from contextlib import suppress
from pathlib import Path

_SOCKET = Path("/run/systemd/journal/socket")
_BUFFER = 8 << 20  # bytes; thousands of lines, while the journal is busy


class Journal:
    """Entries with a SYSLOG_IDENTIFIER of their own, in the journal's native protocol.

    Who reads them by that identifier is not led by lines that the app prints, whoever made them
    up. A line is lost rather than waited for. Outside of a systemd service, lines go to standard
    output.
    """

    def __init__(self, identifier: str, address: Path = _SOCKET) -> None:
        """Write as `identifier` to the journal whose socket is at `address`."""
        self._head = f"SYSLOG_IDENTIFIER={identifier}\nPRIORITY=6\nMESSAGE="
        self._socket: socket.socket | None = None
        if "JOURNAL_STREAM" in os.environ:  # systemd says that standard output is the journal
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self._address = str(address)

    def write(self, line: str) -> None:
        """Write one line of ASCII, which has no end."""
        if self._socket is None:
            print(line, flush=True)
            return
        with suppress(OSError):
            self._socket.sendto(f"{self._head}{line}\n".encode(), self._address)
