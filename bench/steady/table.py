"""The report as a person reads it on a terminal."""

from __future__ import annotations

from typing import Any

from steady.report import PHASES

LATE = 100  # milliseconds
TOLD = 5  # failures that the table shows; the JSON has more


def table(report: dict[str, Any]) -> str:
    """Return some lines."""
    rows = [
        ("", "", "", "asked", "failed", *(f"{phase} p50/p99/max ms" for phase in PHASES), "gap s"),
        *(
            (
                cell["protocol"],
                cell["kind"],
                cell["connection"],
                str(cell["asked"]),
                str(cell["failed"]),
                *(_latency(cell["latency"].get(phase)) for phase in PHASES),
                f"{cell['gap']['seconds']:.2f}",
            )
            for cell in report["requests"]
        ),
    ]
    lines = [*_columns(rows), ""]
    if report["streams"]:
        rows = [("", "opened", "ended", "broken", "failed", "silence s", "reconnect s")]
        rows += [
            (
                f"{stream['protocol']} event streams",
                *(str(stream[key]) for key in ("opened", "ended", "broken", "failed")),
                f"{stream['silence']['seconds']:.2f}",
                f"{stream['reconnect_seconds']:.2f}",
            )
            for stream in report["streams"]
        ]
        lines += [*_columns(rows), ""]
    lines += [f"left out: {reason}" for reason in report["skipped"]]
    lines += _troubles(report)
    totals = report["totals"]
    streams = totals["streams"]
    causes = ", ".join(f"{count} {cause}" for cause, count in totals["causes"].items())
    lines.append(
        f"{totals['asked']} requests, {totals['failed']} failed"
        f"{f' ({causes})' if causes else ''}, {totals['repeated']} not taken and sent again; "
        f"{totals['sessions_renewed']} sessions renewed; longest gap {totals['gap']['seconds']} s"
    )
    lines.append(
        f"{streams['opened']} streams, {streams['broken']} broken, {streams['failed']} not opened, "
        f"{streams['ended']} ended by the server"
    )
    if (late := report["load"]["late_ms"]) > LATE:
        lines.append(f"this machine sent up to {late:.0f} ms late, which is in the latencies")
    if (command := report.get("command")) is not None:
        lines.append(f"the command took {command['seconds']} s, status {command['status']}")
    return "\n".join(lines)


def _troubles(report: dict[str, Any]) -> list[str]:
    """Tell the first failures, of requests and streams together."""
    found = [
        (failure, f"{cell['protocol']} {cell['kind']} {cell['connection']}")
        for cell in report["requests"]
        for failure in cell["failures"]
    ]
    found += [
        (end, f"{stream['protocol']} event stream")
        for stream in report["streams"]
        for end in stream["ends"]
        if end["what"] != "ended"
    ]
    found.sort(key=lambda pair: float(pair[0]["at"]))
    lines = [
        f"{failure['at']:+8.2f} s  {who}: {failure['what']}, {failure['error']}"
        for failure, who in found[:TOLD]
    ]
    if len(found) > TOLD:
        lines.append("      and more, see --json")
    return lines


def _latency(phase: dict[str, float] | None) -> str:
    if phase is None:
        return "-"
    return "/".join(f"{phase[key]:.0f}" for key in ("p50_ms", "p99_ms", "max_ms"))


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    """Align words to the left and numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    words = sum(not head for head in rows[0])
    return [
        "  ".join(
            cell.ljust(width) if column < words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
