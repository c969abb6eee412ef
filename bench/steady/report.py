"""What a run's log comes to, as data for JSON; times are seconds from the start of the command."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable
from importlib.metadata import version
from itertools import pairwise
from typing import Any

from steady.plan import Plan
from steady.record import KINDS, Life, Log, Sample

FIRST = 20  # failures that are told one by one
LIBRARIES = ("aioquic", "h2", "h11")
PHASES = ("before", "during", "after")


def summarize(plan: Plan, log: Log) -> dict[str, Any]:
    """Return all but what concerns the command itself."""
    cells: dict[tuple[str, str, bool], list[Sample]] = {}
    for sample in log.samples:
        cells.setdefault((sample.protocol, sample.kind, sample.fresh), []).append(sample)
    order = sorted(cells, key=lambda cell: (cell[0], KINDS.index(cell[1]), cell[2]))
    requests = [
        {
            "protocol": protocol,
            "kind": kind,
            "connection": "fresh" if fresh else "kept",
            **_requests(log, cells[protocol, kind, fresh]),
        }
        for protocol, kind, fresh in order
    ]
    lives: dict[str, list[Life]] = {}
    for life in log.lives:
        lives.setdefault(life.protocol, []).append(life)
    streams = [{"protocol": name, **_streams(log, lives[name])} for name in sorted(lives)]
    return {
        "url": plan.target.url,
        "address": plan.target.found,
        "load": {
            "rate": plan.rate,
            "fresh": plan.fresh,
            "streams": plan.streams,
            "protocols": list(plan.protocols),
            "begin": _offset(log, log.begin),
            "end": _offset(log, log.end),
            "late_ms": _ms(log.late),
        },
        "skipped": log.skipped,
        "totals": {
            "asked": len(log.samples),
            "failed": sum(bool(sample.failure) for sample in log.samples),
            "causes": _causes(log.samples),
            "repeated": sum(sample.repeated for sample in log.samples),
            "sessions_renewed": log.sessions_renewed,
            "gap": _gap(log, _answers(log.samples)),
            "streams": {
                key: sum(stream[key] for stream in streams)
                for key in ("opened", "ended", "broken", "failed")
            },
        },
        "protocols": {
            protocol: {"gap": _gap(log, _answers(s for s in log.samples if s.protocol == protocol))}
            for protocol in plan.protocols
        },
        "requests": requests,
        "streams": streams,
        "versions": {
            "python": sys.version.split()[0],
            **{name: version(name) for name in LIBRARIES},
        },
    }


def _requests(log: Log, samples: list[Sample]) -> dict[str, Any]:
    failed = [sample for sample in samples if sample.failure]
    latency = {}
    for phase in PHASES:
        answered = [s for s in samples if not s.failure and log.phase(s.due, s.done) == phase]
        took = sorted(sample.seconds for sample in answered)
        if answered:
            latency[phase] = {
                "answered": len(answered),
                "p50_ms": _ms(_percentile(took, 50)),
                "p99_ms": _ms(_percentile(took, 99)),
                "max_ms": _ms(took[-1]),
            }
    return {
        "asked": len(samples),
        "failed": len(failed),
        "causes": _causes(samples),
        "failures": [
            {
                "at": _offset(log, sample.due),
                "after": round(sample.seconds, 3),
                "phase": log.phase(sample.due, sample.done),
                "what": sample.failure,
                "error": sample.error,
            }
            for sample in failed[:FIRST]
        ],
        "repeated": sum(sample.repeated for sample in samples),
        "renewed": sum(sample.renewed for sample in samples),
        "latency": latency,
        "gap": _gap(log, _answers(samples)),
    }


def _streams(log: Log, lives: list[Life]) -> dict[str, Any]:
    slots = [[life for life in lives if life.slot == slot] for slot in {x.slot for x in lives}]
    silences = [_gap(log, [when for life in slot for when in life.arrivals]) for slot in slots]
    count = Counter(life.ending for life in lives)
    ends = [life for life in lives if life.ending != "open"]
    return {
        "opened": sum(bool(life.arrivals) for life in lives),
        "ended": count["ended"],
        "broken": count["broken"],
        "failed": count["failed"],
        "ends": [
            {
                "at": _offset(log, life.over),
                "phase": log.phase(life.over, life.over),
                "what": life.ending,
                "error": life.error,
            }
            for life in ends[:FIRST]
        ],
        "silence": max(silences, key=lambda silence: float(silence["seconds"])),
        "reconnect_seconds": round(max(map(_reconnect, slots)), 3),
    }


def _reconnect(slot: list[Life]) -> float:
    """Return the longest time from the end of a stream to the first event of the next one."""
    begun = [life for life in slot if life.arrivals]
    return max((later.begun - earlier.over for earlier, later in pairwise(begun)), default=0)


def _answers(samples: Iterable[Sample]) -> list[float]:
    return [sample.done for sample in samples if not sample.failure]


def _gap(log: Log, times: list[float]) -> dict[str, float]:
    """Return the longest time in which nothing came."""
    inside = sorted(when for when in times if log.begin < when < log.end)
    begin, end = max(pairwise([log.begin, *inside, log.end]), key=lambda pair: pair[1] - pair[0])
    return {
        "seconds": round(end - begin, 3),
        "from": _offset(log, begin),
        "to": _offset(log, end),
    }


def _causes(samples: list[Sample]) -> dict[str, int]:
    return dict(Counter(sample.failure for sample in samples if sample.failure))


def _percentile(ordered: list[float], share: int) -> float:
    """Return the value that so many of a hundred do not exceed."""
    return ordered[math.ceil(len(ordered) * share / 100) - 1]


def _offset(log: Log, when: float) -> float:
    return round(when - log.zero, 3)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
