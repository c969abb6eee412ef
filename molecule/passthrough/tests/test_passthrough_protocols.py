"""What every client gets: the app itself, over each protocol, seen with its own address."""

from __future__ import annotations

import json

import pytest
from lab import (
    ADDRESSES,
    BOTH_FAMILIES,
    CLIENT6,
    PROTOCOLS,
    TARGET6,
    Curl,
    instance,
    python_on,
)
from testinfra.host import Host

FORGED = [
    *("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: http", "X-Real-IP: 203.0.113.9"),
    "Forwarded: for=203.0.113.9;proto=http",
]
WHO = [("-4", ADDRESSES["client"]), ("-6", CLIENT6)]


@pytest.mark.parametrize(("family", "address"), WHO)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_app_sees_the_clients_own_address(
    curl: Curl, protocol: str, family: str, address: str
) -> None:
    """What a client says about itself in headers is not believed."""
    options = [option for line in FORGED for option in ("-H", line)]
    answer = curl("https://echo.test/", family, *options, protocol=protocol)
    assert answer.status == 200
    assert answer.json["client"][0] == address
    assert answer.json["scheme"] == "https"
    assert answer.headers["alt-svc"].split(";")[0] == 'h3=":443"'
    assert answer.json["headers"].count(["x-forwarded-for", "203.0.113.9"]) == 1, "it was sent"


def test_200_http3_connections_in_a_row(client: Host) -> None:
    """With curl's own hello, which is of two datagrams as it holds an ML-KEM key."""
    result = client.run(
        "for i in $(seq 200); do curl -sS --http3-only --max-time 5 -o /dev/null "
        "-w '%{http_code}\\n' https://echo.test/; done"
    )
    assert result.stdout.split() == ["200"] * 200, result.stderr


MOVE = """
import asyncio, json, sys
from probe import h3

async def once():
    async with h3.connect(address=sys.argv[1]) as connection:
        events = connection.open("GET", "/events?interval=0.1")
        await events.until(lambda: len(events.pieces) > 2)
        await connection.move()
        before = len(events.pieces)
        await events.until(lambda: len(events.pieces) > before + 10)
        after = await connection.ask("GET", "/")
        return after.status, json.loads(after.body)["client"][0]

async def main():
    return [await once() for _ in range(6)]
print(json.dumps(asyncio.run(main())))
"""


@pytest.mark.parametrize(
    ("there", "here"), [(ADDRESSES["target"], ADDRESSES["client"]), (TARGET6, CLIENT6)]
)
def test_http3_survives_a_change_of_the_clients_port(client: Host, there: str, here: str) -> None:
    assert python_on(client, MOVE, there) == [[200, here]] * 6


LARGE = """
import asyncio, hashlib, json
from probe import h3

LENGTH = 20_000_000

async def main():
    block = hashlib.shake_128(b"up").digest(LENGTH)
    pieces = [hashlib.shake_128(b"%d" % i).digest(65536) for i in range(LENGTH // 65536 + 1)]
    async with h3.connect() as connection:
        up = await connection.ask("POST", "/upload", body=block, seconds=90)
        down = await connection.ask("GET", f"/download?bytes={LENGTH}", seconds=90)
    seen = json.loads(up.body)
    return {
        "up": seen == {"length": LENGTH, "sha256": hashlib.sha256(block).hexdigest()},
        "down": down.body == b"".join(pieces)[:LENGTH],
    }
print(json.dumps(asyncio.run(main())))
"""


def test_20_megabytes_arrive_intact_over_http3(client: Host) -> None:
    assert python_on(client, LARGE) == {"up": True, "down": True}


MANY = """
import asyncio, contextlib, json
from probe import h3

async def main():
    async with contextlib.AsyncExitStack() as stack:
        streams = []
        for _ in range(5):
            connection = await stack.enter_async_context(h3.connect())
            streams += [connection.open("GET", "/events?interval=2") for _ in range(100)]
        for stream in streams:
            await stream.until(lambda: len(stream.pieces) > 2, 30)
        return [len(streams), sum(stream.over for stream in streams)]
print(json.dumps(asyncio.run(main())))
"""


def test_500_event_streams_at_once_over_http3(client: Host) -> None:
    """Each gets its events, on connections of 100 streams."""
    assert python_on(client, MANY) == [500, 0]


@pytest.mark.parametrize("address", BOTH_FAMILIES)
def test_port_80_redirects_and_serves_acme(curl: Curl, target: Host, address: str) -> None:
    there = ("--resolve", f"echo.test:80:{address}")
    answer = curl("http://echo.test/some/path?q=1", *there, protocol="h1")
    assert answer.status in {301, 308}
    assert answer.headers["location"] == "https://echo.test/some/path?q=1"
    root = acme_root(target)
    target.run(f"mkdir -p {root} && echo from-the-tests > {root}/probe && chmod -R a+rX {root}")
    try:
        answer = curl("http://echo.test/.well-known/acme-challenge/probe", *there, protocol="h1")
    finally:
        target.run(f"rm {root}/probe")
    assert (answer.status, answer.body) == (200, "from-the-tests\n")


def acme_root(target: Host) -> str:
    """Return the folder that certbot writes its answers to."""
    found = target.run("sed -n 's/^webroot_path = //p' /etc/letsencrypt/renewal/*.conf").stdout
    return str(found).split(",", maxsplit=1)[0].strip() + "/.well-known/acme-challenge"


OTHER = """
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "17")
        self.end_headers()
        self.wfile.write(b"the other backend")
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/run/other.pem")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 9443), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def test_another_name_goes_to_its_own_backend(curl: Curl, target: Host) -> None:
    started = target.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 2"
        " -subj /CN=other.test -keyout /run/other.pem -out /run/other.crt 2>/dev/null"
        " && cat /run/other.crt >> /run/other.pem"
        " && systemd-run --unit=other-backend /usr/bin/python3 -c %s"
        " && for i in $(seq 50); do ss -Hltn sport = :9443 | grep -q . && exit 0; sleep 0.1; done"
        " && exit 1",
        OTHER,
    )
    assert started.rc == 0, started.stderr
    try:
        answer = curl("https://other.test/", "--insecure", protocol="h1")
        assert answer.body == "the other backend"
        assert curl("https://echo.test/", protocol="h1").json["path"] == "/"
    finally:
        target.run("systemctl stop other-backend")


def test_nothing_else_listens_on_the_outside(target: Host) -> None:
    """On TCP ssh, 80 and 443; on UDP 443. What is behind them listens on loopback only."""
    outside: dict[str, set[int]] = {"tcp": set(), "udp": set()}
    for line in target.run("ss -Hltun").stdout.splitlines():
        kind, _, _, _, local = line.split()[:5]
        address, _, port = local.rpartition(":")
        if not address.startswith("127.") and address != "[::1]":
            outside[kind].add(int(port))
    assert outside == {"tcp": {22, 80, 443}, "udp": {443}}


REACH = """
import json, socket, sys
results = []
for address in sys.argv[1:]:
    try:
        socket.create_connection((address, 8443), timeout=3).close()
        results.append("reached")
    except OSError:
        results.append("refused")
print(json.dumps(results))
"""
INJECT = """
import json, sys
from probe.inject import answered
mac, outer, kind = sys.argv[1:]
places = [(outer, 443), (outer, 8443), ("127.0.0.1", 8443)]
print(json.dumps([answered(mac, address, port, kind) for address, port in places]))
"""


def test_the_backends_port_is_closed_on_the_outer_addresses(client: Host) -> None:
    assert python_on(client, REACH, ADDRESSES["target"], TARGET6) == ["refused"] * 2


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_neighbour_cannot_reach_the_loopback_backend(
    client: Host, target: Host, kind: str
) -> None:
    """By packets to 127.0.0.1 that are put on the link; those to port 443 show that it works.

    An answer would not find its way back, so the one setting that lets them in is looked at, too.
    """
    mac = target.run("cat /sys/class/net/eth0/address").stdout.strip()
    answers = python_on(client, INJECT, mac, ADDRESSES["target"], kind)
    assert answers == [True, False, False]
    let_in = target.run("cat /proc/sys/net/ipv4/conf/*/route_localnet | sort -u").stdout
    assert let_in == "0\n"


def test_the_app_is_confined(curl: Curl, target: Host) -> None:
    """It may call one neighbour, and nobody else, the host among them."""
    allowed, *others = (
        f"{ADDRESSES['acme']}:14000",
        *(f"{ADDRESSES['client']}:22", f"{ADDRESSES['target']}:80", "127.0.0.1:80", "[::1]:80"),
    )
    assert target.run(f"timeout 3 bash -c '< /dev/tcp/{ADDRESSES['client']}/22'").rc == 0
    query = "&".join(f"connect={place}" for place in (allowed, *others))
    answers = curl(f"https://echo.test/may?{query}").json
    assert answers.pop(f"connect {allowed}") == "done"
    assert len(answers) == len(others)
    assert not [what for what, how in answers.items() if how == "done"], answers

    folders = ["/var/lib/echo", "/var/log", "/etc", "/home", "/run", "/srv/echo/current"]
    answers = curl("https://echo.test/may?" + "&".join(f"write={f}" for f in folders)).json
    assert [what for what, how in answers.items() if how == "done"] == ["write /var/lib/echo"]

    analyze = "systemd-analyze security --no-pager --threshold=15 %s"
    exposure = target.run(analyze, instance(target, "echo"))
    assert exposure.rc == 0, exposure.stdout.splitlines()[-1]


def test_one_process_serves(curl: Curl, target: Host) -> None:
    show = "systemctl show -p ControlGroup --value %s"
    group = target.check_output(show, instance(target, "echo")).strip()
    found = target.run(
        f"find /sys/fs/cgroup -path '*{group}/cgroup.procs' -exec cat {{}} + | sort -u"
    )
    processes = found.stdout.split()
    assert processes == [str(json.loads(curl("https://echo.test/live").body)["pid"])]
