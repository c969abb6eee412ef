"""What the clients of the abuse tests share as programs that lab.Companion runs."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable

from probe import h3, origin

SECONDS = 60  # the longest that an attack may last


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser of what says where the server is."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", default="echo.test", help="of the server (%(default)s)")
    parser.add_argument("--address", help="of the server (that of its name)")
    parser.add_argument("--port", type=within(1, 65535), default=443, help="(%(default)s)")
    parser.add_argument("--source", help="local address to send from (the kernel's choice)")
    parser.add_argument("--root", default=h3.LAB_ROOT, help="certificate to trust (%(default)s)")
    return parser


def where(options: argparse.Namespace) -> origin.Origin:
    """Return the server that was asked for."""
    try:
        return origin.find(
            options.name, options.address, options.port, options.source, options.root
        )
    except (OSError, ValueError) as error:
        sys.exit(f"{options.address or options.name}: {error}")


def within(least: int, most: int) -> Callable[[str], int]:
    """Return a type of argument: a whole number from least to most."""

    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not from {least} to {most}")
        return value

    return number


class _Input(asyncio.Protocol):
    """Standard input, of which only the end matters."""

    def __init__(self, ended: asyncio.Event) -> None:
        self._ended = ended

    def connection_lost(self, _error: Exception | None) -> None:
        self._ended.set()


async def told(seconds: float | None = None) -> asyncio.Event:
    """Return what is set once standard input has ended, or so many seconds are over."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    await loop.connect_read_pipe(lambda: _Input(stop), sys.stdin)
    if seconds is not None:
        loop.call_later(seconds, stop.set)
    return stop


def ready() -> None:
    """Say that the test may go on."""
    print("ready", flush=True)


def say(result: object) -> None:
    """Print what came of it."""
    print(json.dumps(result), flush=True)
