"""Tell systemd how the service is doing, as sd_notify(3) does."""

import asyncio
import os
import socket
import time
from contextlib import suppress


class Notifier:
    """Send states to the socket that systemd names; without one, do nothing."""

    def __init__(self) -> None:
        """Read NOTIFY_SOCKET, a path or ``@NAME`` of an abstract socket, and WATCHDOG_USEC."""
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._watchdog = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6 if mine else 0.0  # seconds

    def send(self, *states: str) -> None:
        """Send `states`, such as ``READY=1``. A manager that is gone is no reason to fail."""
        if not self._address:
            return
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        with suppress(OSError), socket.socket(socket.AF_UNIX, kind) as sender:
            sender.sendto("\n".join(states).encode(), self._address)

    def reloading(self) -> None:
        """Say that a reload begins; it ends with ``READY=1``."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def keep_alive(self) -> None:
        """Send WATCHDOG=1 now and at half the interval, as long as the event loop turns."""
        if self._watchdog:
            self.send("WATCHDOG=1")
            asyncio.get_running_loop().call_later(self._watchdog / 2, self.keep_alive)
