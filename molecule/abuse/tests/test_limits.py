"""What one address may ask and begin, and what it is told when that was too much."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from lab import ADDRESSES, HEADERS, PROTOCOLS, ROOT, Curl, play, python_on
from misuse import Edge, address6
from testinfra.host import Host

BURST = 100
URL = "https://mcp.test/api/livez"
REFUSED = {"error": "too many requests", "status": 429}

# From each source, asks over one connection until that was refused three times, which is less than
# what one is banned for.
ASK = """
import asyncio, json, sys
from probe import h3, origin, web
protocol, name, most, *sources = sys.argv[1:]
path = "/api/livez"

async def answers(source):
    async with origin.find(name, source=source).session(protocol) as session:
        for _ in range(int(most)):
            if isinstance(session, web.Quic):
                answer = await session.connection.ask("GET", path)
                headers = {n.decode(): v.decode() for n, v in answer.headers}
                yield answer.status, headers, answer.body.decode()
            else:
                answer = await session._client.get(path, extensions=session._extensions)
                yield answer.status_code, dict(answer.headers), answer.text
async def main():
    all = []
    for source in sources:
        statuses = []
        async for status, headers, body in answers(source):
            statuses.append(status)
            if statuses.count(429) == 3:
                break
        all.append((statuses, headers, body))
    return all
print(json.dumps(asyncio.run(main())))
"""


def ask(
    attacker: Host, edge: Edge, *sources: str, protocol: str = "h2", most: int = 400
) -> list[tuple[list[int], dict[str, str], str]]:
    """Return for each source all statuses, and headers and body of the last answer."""
    found: list[tuple[list[int], dict[str, str], str]] = python_on(
        attacker, ASK, protocol, edge.name, str(most), *sources
    )
    return found


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_who_asks_too_often_is_told_when_to_come_again(
    edge: Edge, attacker: Host, strangers: Callable[[], str], protocol: str
) -> None:
    ((statuses, headers, body),) = ask(attacker, edge, strangers(), protocol=protocol)
    counted = Counter(statuses)
    assert set(counted) == {200, 429}
    assert counted[200] > BURST
    assert 429 not in statuses[:BURST]
    assert (headers["retry-after"], headers["content-type"]) == ("1", "application/json")
    assert json.loads(body) == REFUSED
    assert {name: headers.get(name) for name in HEADERS} == HEADERS


@pytest.mark.usefixtures("strangers")
def test_an_ipv6_address_counts_as_its_64(edge: Edge, attacker: Host) -> None:
    one, two = (address6(attacker, "1", host) for host in (1, 2))
    other = address6(attacker, "2", 1)
    first, second, third = (
        Counter(statuses) for statuses, _, _ in ask(attacker, edge, one, two, other, most=120)
    )
    assert (first[429], second[429]) == (3, 3)
    assert second[200] < 20
    assert third[200] > BURST


EVENTS = """
import asyncio, json, sys
from probe import h3, origin
name, source = sys.argv[1:]
ACCEPT = [("accept", "text/event-stream")]

async def main():
    async with origin.find(name, source=source).quic() as connection:
        calls = []
        while calls.count(429) < 3:
            calls.append((await connection.ask("GET", "/api/livez")).status)
        path = "/api/sse?interval=1&count=60"
        opened = [connection.open("GET", path, headers=ACCEPT) for _ in range(108)]
        for stream in opened:
            await stream.until(lambda: stream.status)
        return [stream.status for stream in opened]
print(json.dumps(asyncio.run(main())))
"""


def test_event_streams_do_not_use_up_calls_and_have_a_limit_of_their_own(
    edge: Edge, attacker: Host, strangers: Callable[[], str]
) -> None:
    """Who may call no more can still open streams, a hundred at a time."""
    statuses = python_on(attacker, EVENTS, edge.name, strangers())
    assert Counter(statuses) == {200: 100, 429: 8}


CONNECT = """
import asyncio, json, sys
address, source, count = sys.argv[1:]

async def one():
    try:
        async with asyncio.timeout(9):
            return await asyncio.open_connection(address, 443, local_addr=(source, 0))
    except TimeoutError:
        return None
async def main():
    connections = await asyncio.gather(*(one() for _ in range(int(count))))
    return sum(connection is not None for connection in connections)
print(json.dumps(asyncio.run(main())))
"""


def test_connections_that_ask_nothing_are_bounded(
    edge: Edge, attacker: Host, client: Host, strangers: Callable[[], str]
) -> None:
    """The rest is dropped, and somebody else still connects at once."""
    assert python_on(attacker, CONNECT, edge.address, strangers(), "150") == 128
    assert Curl(client)(edge.url(), "--connect-timeout", "1").status == 200


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("agent", ["", "Mozilla/5.0 (compatible; badbot/1.0)"])
def test_agents_without_a_name_or_denied_are_refused(curl: Curl, protocol: str, agent: str) -> None:
    answer = curl(URL, "-H", f"User-Agent:{agent}", protocol=protocol)
    assert answer.status == 403
    assert answer.json == {"error": "forbidden", "status": 403}
    assert answer.headers["strict-transport-security"] == HEADERS["strict-transport-security"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_head_that_is_too_large_is_refused(curl: Curl, protocol: str) -> None:
    """Over HTTP/2 and 3 by the end of the stream or connection, as it is not read at all."""
    asked = f"curl -s -o /dev/null -w '%{{http_code}}' {PROTOCOLS[protocol]} {URL}"
    large = curl.client.run(f"{asked} -H 'X: {'x' * 40_000}'")
    assert large.stdout in {"400", "000"}
    assert curl(URL, "-H", f"X: {'x' * 7_000}", protocol=protocol).status == 200


def configure(**variables: Any) -> None:  # noqa: ANN401 - of the role
    """Configure the terminating edge with some variables as given."""
    result = play(
        f"{ROOT}/molecule/abuse/nginx.yml",
        "--limit=target",
        f"--extra-vars={json.dumps(variables)}",
    )
    assert result.returncode == 0, result.stdout[-4000:]


def test_a_dry_run_refuses_nothing_and_notes_it(
    target: Host, attacker: Host, strangers: Callable[[], str]
) -> None:
    edge = Edge("target", target, "mcp.test", ADDRESSES["target"])
    stranger, trusted = strangers(), strangers()
    configure(nginx_quic_limits_dry_run=True)
    try:
        assert set(ask(attacker, edge, stranger, most=200)[0][0]) == {200}
        assert python_on(attacker, CONNECT, edge.address, stranger, "150") == 150
    finally:
        configure(nginx_quic_unlimited_networks=[trusted])
    log = target.run(f"grep {stranger} /var/log/nginx/codeintel.log").stdout
    assert '"request_limit":"REJECTED_DRY_RUN"' in log
    try:
        assert set(ask(attacker, edge, trusted, most=200)[0][0]) == {200}
        assert python_on(attacker, CONNECT, edge.address, trusted, "150") == 150
        assert 429 in ask(attacker, edge, strangers())[0][0]
    finally:
        configure()
