# Copyright: (c) 2026, codeintel.mcp_edge contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks that server-sent events arrive as they are sent: an edge must not hold them back."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median_low

import anyio
import httpx2
from ansible_collections.codeintel.mcp_edge.plugins.module_utils.checks import (
    Check,
    CheckFailed,
    describe,
    failed,
    passed,
)
from ansible_collections.codeintel.mcp_edge.plugins.module_utils.endpoint import (
    VERSIONS,
    Endpoint,
    Protocol,
)

DEFAULT_COUNT = 10


@dataclass(frozen=True, kw_only=True)
class EventStream:
    """A stream with an event at every interval (in seconds), and what is expected of it."""

    path: str
    interval: float
    count: int
    first_event_limit: float

    @classmethod
    def from_path(cls, path: str, first_event_limit: float) -> EventStream:
        """Read the interval and the count from the path's query."""
        query = httpx2.URL(path).params
        try:
            interval, count = float(query["interval"]), int(query.get("count", DEFAULT_COUNT))
        except (KeyError, ValueError) as exc:
            raise ValueError(f"{path!r} does not say interval=<seconds> and count=<n>") from exc
        if not (interval > 0 and count > 2):  # noqa: PLR2004 - two gaps are the least to compare
            raise ValueError(f"{path!r} needs an interval above 0 and a count above 2")
        return cls(path=path, interval=interval, count=count, first_event_limit=first_event_limit)


@dataclass
class Reading:
    """What came of a stream: when it was asked for, when each event came, and how it ended."""

    started: float
    arrivals: list[float] = field(default_factory=list)
    error: Exception | None = None


async def check_sse(endpoint: Endpoint, protocol: Protocol, stream: EventStream) -> list[Check]:
    """Check the first event and the spacing of one stream."""
    reading = Reading(time.perf_counter())
    try:
        # The stream takes its time by design; the timeout is for what comes on top.
        with anyio.fail_after(endpoint.timeout + stream.interval * stream.count):
            await _read(endpoint, protocol, stream, reading.arrivals)
    except Exception as exc:
        reading.error = exc
    over = f"of {stream.path} over {VERSIONS[protocol]}"
    return [
        _first_event(f"sse.{protocol}.first_event", over, stream, reading),
        _spacing(f"sse.{protocol}.spacing", over, stream, reading),
    ]


async def _read(
    endpoint: Endpoint, protocol: Protocol, stream: EventStream, arrivals: list[float]
) -> None:
    async with (
        endpoint.client(protocol) as client,
        client.stream("GET", stream.path, headers={"Accept": "text/event-stream"}) as response,
    ):
        if response.is_error:
            raise CheckFailed(f"status {response.status_code}")
        async for _ in httpx2.EventSource(response):
            arrivals.append(time.perf_counter())
            if len(arrivals) == stream.count:
                return


def _first_event(name: str, over: str, stream: EventStream, reading: Reading) -> Check:
    expected = f"the first event {over} within {stream.first_event_limit} s"
    if not reading.arrivals:
        error = reading.error or CheckFailed("a stream without events")
        return failed(name, expected, error, reading.started)
    seconds = reading.arrivals[0] - reading.started
    ok = seconds <= stream.first_event_limit
    return Check(
        name=name,
        ok=ok,
        value=round(seconds, 4),
        seconds=seconds,
        message=None if ok else f"Expected {expected}, saw it after {seconds:.2f} s.",
    )


def _spacing(name: str, over: str, stream: EventStream, reading: Reading) -> Check:
    expected = f"{stream.count} events {over}, one every {stream.interval} s"
    count = len(reading.arrivals)
    gaps = [later - earlier for earlier, later in pairwise(reading.arrivals)]
    value = None
    if gaps:
        value = {"events": count, "p50": round(median_low(gaps), 4), "max": round(max(gaps), 4)}
    if count < stream.count:
        ending = describe(reading.error) if reading.error else "the end of the stream"
        fault: str | None = f"{count} events, then {ending}"
    else:
        fault = bunched(gaps, stream.interval)
    if fault is not None:
        return failed(name, expected, CheckFailed(fault, value), reading.started)
    return passed(name, value, reading.started)


def bunched(gaps: list[float], interval: float) -> str | None:
    """Say how the gaps (in seconds) betray a buffer on the way, or None.

    One late event in ten, which its successor then follows closely, is a busy machine.
    """
    middle, longest = median_low(gaps), max(gaps)
    bursts = sum(gap < interval / 4 for gap in gaps)
    if abs(middle - interval) > interval / 2:
        return f"a median gap of {middle:.3f} s, as if they were held back and sent together"
    if bursts > max(1, len(gaps) // 9):
        return f"{bursts} of {len(gaps)} gaps near zero, as if events were sent together"
    if longest >= 3 * interval:
        return f"a gap of {longest:.3f} s"
    return None
