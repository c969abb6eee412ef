"""Keep load on an MCP endpoint while COMMAND is done to its host, and tell what came of it.

Plain requests, tool calls of both generations and open event streams go over HTTP/1.1, 2 and 3, each when it
is due. The status is COMMAND's if that failed, else 1 if requests failed or streams broke, else 0. A token is
read from --token-file or from the variable STEADY_TOKEN.
"""  # noqa: E501 - argparse breaks the lines

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from steady.kinds import Tool
from steady.picture import draw
from steady.plan import Plan
from steady.prepare import NotReadyError
from steady.report import summarize
from steady.run import command, run
from steady.table import table
from steady.target import PROTOCOLS, Target

UNUSABLE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run once; return the exit status."""
    options = _parser().parse_args(arguments)
    words = options.command[1:] if options.command[:1] == ["--"] else options.command
    try:
        plan = _plan(options, command_given=bool(words))
        begin = time.time()
        log, status = asyncio.run(run(plan, command(words) if words else None))
    except (NotReadyError, OSError, ValueError) as error:
        print(f"bin/steady: {error}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        return 130
    report = summarize(plan, log)
    if log.command_begin is not None and log.command_end is not None:
        started = begin + log.command_begin - log.begin
        took = log.command_end - log.command_begin
        report["command"] = {
            "words": words,
            "status": status,
            "begin": _iso(started),
            "end": _iso(started + took),
            "seconds": round(took, 3),
        }
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    if options.svg:
        options.svg.write_text(draw(plan, log, words))
    print(f"\n{table(report)}", flush=True)
    return status or _verdict(report, options)


def _verdict(report: dict[str, Any], options: argparse.Namespace) -> int:
    streams = report["totals"]["streams"]
    return int(
        report["totals"]["failed"] > options.allow_failed
        or streams["broken"] + streams["failed"] > options.allow_broken
    )


def _plan(options: argparse.Namespace, *, command_given: bool) -> Plan:
    """Return what the options ask for; raises OSError or ValueError."""
    if command_given == (options.seconds is not None):
        raise ValueError("give either a COMMAND, after --, or --seconds")
    before, after = options.before, options.after
    if options.seconds is not None:
        before, after = 0, options.seconds
    if before + after >= options.max_seconds:
        raise ValueError("--max-seconds leaves no time for COMMAND")
    protocols = tuple(dict.fromkeys(options.protocols.split(",")))
    if not set(protocols) <= set(PROTOCOLS):
        raise ValueError(f"--protocols are some of {','.join(PROTOCOLS)}")
    token = os.environ.get("STEADY_TOKEN")
    if options.token_file:
        token = options.token_file.read_text().strip()
    return Plan(
        target=Target(options.url, options.address, options.ca_file),
        protocols=protocols,
        before=before,
        after=after,
        most=options.max_seconds,
        rate=options.rate,
        fresh=options.fresh,
        streams=options.streams,
        path=options.path,
        sse_path=options.sse_path,
        mcp_path="" if options.no_mcp else options.mcp_path,
        tool=Tool(options.tool, options.arguments) if options.tool else None,
        token=token,
        patience=options.patience,
        silence=options.silence,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bin/steady",
        description=__doc__,
        usage="%(prog)s --url URL [OPTION...] (--seconds N | -- COMMAND...)",
    )
    add = parser.add_argument
    add("--url", required=True, help="such as https://mcp.example.com")
    add("--address", help="ask there, under the URL's name")
    add("--ca-file", help="trust these roots in place of the system's")
    add("--token-file", type=Path, help="has the bearer token")
    add("--protocols", default=",".join(PROTOCOLS), help="(%(default)s)")
    add("--rate", type=_within(0.1, 50), default=Plan.rate, help=_RATE)
    add("--fresh", type=_within(0, 10), default=Plan.fresh, help=_FRESH)
    add("--streams", type=_count(50), default=Plan.streams, help="over each protocol (%(default)s)")
    add("--before", type=_within(0, 3600), default=Plan.before, help="seconds (%(default)s)")
    add("--after", type=_within(0, 3600), default=Plan.after, help="seconds (%(default)s)")
    add("--seconds", type=_within(0.1, 3600), help="of load, without a COMMAND")
    add("--max-seconds", type=_within(1, 7200), default=Plan.most, help=_MOST)
    add("--patience", type=_within(0.1, 120), default=Plan.patience, help=_PATIENCE)
    add("--silence", type=_within(0.1, 600), default=Plan.silence, help=_SILENCE)
    add("--path", default=Plan.path, help="to GET (%(default)s)")
    add("--sse-path", default=Plan.sse_path, help="of event streams, '' for none (%(default)s)")
    add("--mcp-path", default=Plan.mcp_path, help="(%(default)s)")
    add("--no-mcp", action="store_true", help="call no tools")
    add("--tool", help="to call ('status', if it is there and read-only)")
    add("--arguments", type=_object, default={}, help="of the tool, as JSON")
    add("--allow-failed", type=_count(10**9), default=0, help="requests, and exit 0 all the same")
    add("--allow-broken", type=_count(10**9), default=0, help="streams, and exit 0 all the same")
    add("--json", type=Path, metavar="FILE", help="write the report there")
    add("--svg", type=Path, metavar="FILE", help="draw a timeline there")
    add("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="and its arguments, after --")
    return parser


_RATE = "requests a second of each kind over each protocol (%(default)s, within the edge's limits)"
_FRESH = "of these, so many a second over each protocol on new connections (%(default)s)"
_MOST = "after which COMMAND is ended (%(default)s)"
_PATIENCE = "seconds until a request has failed (%(default)s)"
_SILENCE = "seconds until a stream without an event is broken (%(default)s)"


def _within(least: float, most: float) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = float(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} is not from {least:g} to {most:g}")
        return value

    return number


def _count(most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        return int(_within(0, most)(str(int(text))))

    return number


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("the arguments are no JSON object")
    return value


def _iso(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds")
