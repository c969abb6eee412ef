"""Each kind of trouble is seen, told from the others and put where it came from."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from steadily import steadily
from steady.exchange import Request
from steady.kinds import answer
from steady.plan import Plan
from steady.prepare import NotReadyError
from steady.report import summarize
from steady.run import command, run
from steady.target import PROTOCOLS, Target

from .conftest import ADDRESS, Serve, Server

ROOT = Path(__file__).parents[3]
SVG = "{http://www.w3.org/2000/svg}"
GENERATIONS = ("2025-11-25", "2026-07-28")


def during(
    server: Server,
    act: Callable[[], Coroutine[Any, Any, object]],
    **options: Any,  # noqa: ANN401 - whatever a plan has
) -> dict[str, Any]:
    """Return the report of a short run in whose midst something happens."""

    async def action(_seconds: float) -> int:
        await act()
        return 0

    target = Target(server.url, ADDRESS, str(server.ca_file))
    short = {"before": 0.4, "after": 1.2, "rate": 10, "fresh": 5, "patience": 1, "silence": 1}
    plan = replace(Plan(target=target), **{**short, **options})
    log, status = asyncio.run(run(plan, action))
    assert status == 0
    report = summarize(plan, log)
    print(json.dumps(report, indent=1))  # shown where a test fails
    return report


def tell(server: Server, path: str) -> Callable[[], Coroutine[Any, Any, None]]:
    """Return the act of asking the server for something."""

    async def act() -> None:
        connection = await Target(server.url, ADDRESS, str(server.ca_file)).connect("h1")
        exchange, _ = await answer(connection, Request("POST", path))
        assert exchange.status == 200
        connection.close()

    return act


def test_a_test_can_do_things_in_the_midst_of_it(server: Server) -> None:
    short = ["--before=0.3", "--after=0.5", "--rate=5", "--no-mcp"]
    with steadily(server.url, *short, address=ADDRESS, ca_file=server.ca_file) as report:
        asyncio.run(tell(server, "/end")())
    assert report["totals"]["failed"] == 0
    assert report["totals"]["streams"]["ended"] == 6
    ends = [end["at"] for stream in report["streams"] for end in stream["ends"]]
    assert all(0 <= end < 0.3 for end in ends)  # after what was to be before


def test_a_test_is_told_why_there_is_no_load(server: Server) -> None:
    wrong = steadily(server.url, "--path=/mcp", address=ADDRESS, ca_file=server.ca_file)
    with pytest.raises(AssertionError, match="GET /mcp over h1: status 500"), wrong:
        pass


def cli(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    options = ["--url", server.url, "--address", ADDRESS, "--ca-file", str(server.ca_file)]
    return subprocess.run(
        [sys.executable, ROOT / "bench/steady", *options, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def causes(report: dict[str, Any], protocol: str, connection: str) -> set[str]:
    return {
        cause
        for cell in report["requests"]
        if (cell["protocol"], cell["connection"]) == (protocol, connection)
        for cause in cell["causes"]
    }


def test_a_calm_server_loses_nothing(server: Server, tmp_path: Path) -> None:
    told, drawn = tmp_path / "told.json", tmp_path / "drawn.svg"
    times = ["--before=1", "--after=1", "--rate=5", f"--json={told}", f"--svg={drawn}"]
    done = cli(server, *times, "--", "sh", "-c", "echo from the command; sleep 0.5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "from the command" in done.stdout
    report = json.loads(told.read_text())
    assert report["totals"]["failed"] == 0
    assert report["skipped"] == []
    seen = {(c["protocol"], c["kind"], c["connection"]) for c in report["requests"]}
    kinds = ("get", *GENERATIONS)
    assert seen >= {(p, k, "kept") for p in PROTOCOLS for k in kinds}
    assert {(p, c) for p, _, c in seen} >= {(p, "fresh") for p in PROTOCOLS}
    assert 75 <= report["totals"]["asked"] <= 115  # 2.5 s of 45 a second
    assert report["totals"]["streams"] == {"opened": 6, "ended": 0, "broken": 0, "failed": 0}
    assert report["command"]["status"] == 0
    assert report["command"]["seconds"] >= 0.5
    drawing = ET.parse(drawn)
    circles = len(list(drawing.iter(f"{SVG}circle")))
    assert circles == report["totals"]["asked"] + 3  # those of the legend


@pytest.mark.parametrize(
    ("words", "status"),
    [(["sh", "-c", "exit 7"], 7), (["/nowhere"], 127), (["sh", "-c", "kill $$"], 143)],
)
def test_the_status_of_the_command_comes_first(
    server: Server, words: list[str], status: int
) -> None:
    times = ["--before=0.1", "--after=0.1", "--no-mcp", "--protocols=h1", "--sse-path="]
    assert cli(server, *times, "--", *words).returncode == status


def test_a_command_that_takes_too_long_is_ended() -> None:
    async def late() -> int:
        return await command(["sleep", "20"])(0.2)

    begin = time.monotonic()
    assert asyncio.run(late()) == 124
    assert time.monotonic() - begin < 5


def test_a_killed_server_is_seen_by_everybody(serve: Serve) -> None:
    server = serve()

    async def act() -> None:
        server.kill()

    report = during(server, act)
    for protocol in PROTOCOLS:
        assert causes(report, protocol, "fresh") >= {"connect"}, protocol
    # Of a server that speaks QUIC and dies nobody is told.
    assert "timeout" in causes(report, "h3", "kept")
    phases = {failure["phase"] for c in report["requests"] for failure in c["failures"]}
    assert phases <= {"during", "after"}
    for stream in report["streams"]:
        assert stream["broken"] == 2, stream
    assert 1 < report["totals"]["gap"]["seconds"] < 1.6
    assert abs(report["totals"]["gap"]["from"]) < 0.3


def test_clients_come_back_after_a_crash(serve: Serve) -> None:
    server = serve()

    async def act() -> None:
        server.kill()
        await asyncio.to_thread(server.start)

    report = during(server, act, patience=0.4, silence=0.4, after=2)
    for cell in report["requests"]:  # those with new connections come back in any case
        if cell["connection"] == "kept":
            assert cell["gap"]["to"] < report["load"]["end"] - 0.5, cell
    assert report["totals"]["sessions_renewed"] == len(PROTOCOLS)
    assert all(stream["opened"] == 4 for stream in report["streams"])
    server.kill()


def test_failures_make_the_status(serve: Serve) -> None:
    server = serve()
    times = ["--before=0.3", "--after=0.5", "--patience=1", "--no-mcp", "--protocols=h1"]
    kill = ["--", "kill", "-9", str(server.process.pid if server.process else 0)]
    assert cli(server, *times, *kill).returncode == 1
    server.kill()
    server.start()
    kill[-1] = str(server.process.pid if server.process else 0)
    lenient = ["--allow-failed=99", "--allow-broken=99"]
    assert cli(server, *times, *lenient, *kill).returncode == 0
    server.kill()


def test_a_lost_session_is_renewed(server: Server) -> None:
    report = during(server, tell(server, "/forget"))
    assert report["totals"]["failed"] == 0
    assert report["totals"]["sessions_renewed"] == len(PROTOCOLS)
    renewed = {(c["protocol"], c["kind"]) for c in report["requests"] if c["renewed"]}
    assert renewed == {(protocol, "2025-11-25") for protocol in PROTOCOLS}


@pytest.mark.parametrize(("path", "what"), [("/end", "ended"), ("/break", "broken")])
def test_how_a_stream_ends_is_told_and_it_begins_anew(server: Server, path: str, what: str) -> None:
    report = during(server, tell(server, path))
    assert report["totals"]["failed"] == 0
    for stream in report["streams"]:
        assert {stream["ended"], stream["broken"]} == {0, 2}, stream
        assert {end["what"] for end in stream["ends"]} == {what}
        assert stream["opened"] == 4
        assert 0.1 <= stream["reconnect_seconds"] < 0.5  # the server asked for 100 ms
        assert stream["silence"]["seconds"] >= 0.1


def test_a_silent_stream_is_broken(server: Server) -> None:
    report = during(server, tell(server, "/freeze"), silence=0.5, after=0.5, patience=3)
    assert all(stream["broken"] == 2 for stream in report["streams"])


def test_a_wait_is_seen_by_all_requests_that_were_due_in_it(server: Server) -> None:
    report = during(server, tell(server, "/freeze"), patience=3)
    assert report["totals"]["failed"] == 0
    for protocol in PROTOCOLS:
        gets = [c for c in report["requests"] if (c["protocol"], c["kind"]) == (protocol, "get")]
        phases = [c["latency"]["during"] for c in gets if "during" in c["latency"]]
        assert max(phase["max_ms"] for phase in phases) > 850
        # One request at a time would have seen one long wait, and short ones.
        assert max(phase["p50_ms"] for phase in phases) > 300
        assert sum(phase["answered"] for phase in phases) >= 9


def test_requests_are_sent_while_others_wait(server: Server) -> None:
    report = during(server, lambda: asyncio.sleep(0), path="/slow", mcp_path="", sse_path="")
    for cell in report["requests"]:
        # At a rate of 10 one after the other would fall behind by 0.2 s each time.
        assert 290 <= cell["latency"]["after"]["max_ms"] < 600, cell
    assert report["load"]["late_ms"] < 100


def test_a_polite_goodbye_is_no_failure(serve: Serve) -> None:
    server = serve(keep_alive_max_requests=4)
    report = during(server, lambda: asyncio.sleep(0), sse_path="", protocols=("h1",))
    assert report["totals"]["failed"] == 0
    fresh = sum(c["asked"] for c in report["requests"] if c["connection"] == "fresh")
    assert fresh > report["totals"]["asked"] / 4
    server.kill()


def test_a_refusal_is_a_class_of_its_own(server: Server) -> None:
    report = during(server, tell(server, "/refuse"), path="/moody", mcp_path="", sse_path="")
    assert report["totals"]["causes"].keys() == {"refused"}
    assert {p for p in PROTOCOLS if causes(report, p, "kept")} == set(PROTOCOLS)
    with pytest.raises(NotReadyError, match="status 429"):
        during(server, tell(server, "/refuse"), path="/moody")


def test_what_is_not_there_is_left_out(server: Server) -> None:
    report = during(server, lambda: asyncio.sleep(0), mcp_path="/nothing", sse_path="/nothing")
    assert {c["kind"] for c in report["requests"]} == {"get"}
    assert any("tools/call of 2026-07-28" in reason for reason in report["skipped"])
    assert any("event streams" in reason for reason in report["skipped"])


def test_a_server_that_is_not_there_is_no_measurement(serve: Serve) -> None:
    server = serve()
    server.kill()
    done = cli(server, "--seconds=1")
    assert done.returncode == 2
    assert "no connection over h1" in done.stderr
