# Copyright: (c) 2026, codeintel.mcp_edge contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a check is, and how one is run."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio


class CheckFailed(Exception):  # noqa: N818 - a finding, not a fault of the program
    """The endpoint answered, but not as expected."""

    def __init__(self, seen: str, value: object = None) -> None:
        """Say what was seen, in words that follow "saw"."""
        super().__init__(seen)
        self.value = value


@dataclass(frozen=True, kw_only=True)
class Check:
    """The outcome of one check."""

    name: str
    ok: bool
    value: Any
    seconds: float
    message: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the facts of this check, with a message if it failed."""
        facts = {
            "name": self.name,
            "ok": self.ok,
            "value": self.value,
            "seconds": round(self.seconds, 4),
        }
        return facts if self.ok else {**facts, "message": self.message}


def passed(name: str, value: object, started: float) -> Check:
    """Report a check that began at started (of time.perf_counter) and went well."""
    return Check(name=name, ok=True, value=value, seconds=time.perf_counter() - started)


def failed(name: str, expected: str, error: BaseException, started: float) -> Check:
    """Report a check that began at started and went wrong."""
    cause = root_cause(error)
    return Check(
        name=name,
        ok=False,
        value=cause.value if isinstance(cause, CheckFailed) else None,
        seconds=time.perf_counter() - started,
        message=f"Expected {expected}, saw {describe(cause)}.",
    )


async def attempt(
    name: str, expected: str, seconds: float, check: Callable[[], Awaitable[object]]
) -> Check:
    """Run a check for some seconds at most; whatever it raises makes it a failed one."""
    started = time.perf_counter()
    try:
        with anyio.fail_after(seconds):
            value = await check()
    except Exception as exc:
        return failed(name, expected, exc, started)
    return passed(name, value, started)


def root_cause(error: BaseException) -> BaseException:
    """Return the first of the errors that task groups have wrapped."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def describe(error: BaseException) -> str:
    """Name an error in words that follow "saw"."""
    if isinstance(error, CheckFailed):
        return str(error)
    if type(error) is TimeoutError:
        return "no answer in time"
    return f"{type(error).__name__}: {error}".rstrip(" :.")
