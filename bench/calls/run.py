# ruff: noqa: S603 (fixed programs, no shell)
"""Measure tools/call through nginx and this product, beside Caddy and uvicorn with it untuned.

Both serve the same index on loopback, over TLS and HTTP/2, and over HTTP/3 where nginx and curl
can. Every client is a process with a session of its own, h2load or for HTTP/3 curl, which calls
again as soon as it has an answer. The rounds alternate, so that what else the machine does falls on
both. Needs nginx, caddy, curl and h2load (nghttp2-client).

    python bench/calls/run.py [--seconds 4] [--rounds 2] [--clients 8]

Prints a table on stderr and JSON on stdout. bench/README.md says how to run it on Debian 13 in a
container, which has HTTP/3 in both.
"""

import argparse
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from getpass import getuser
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from statistics import quantiles
from typing import Any

from codeintel.indexer import build_index
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EDGE = ROOT / "roles/hypercorn_service/files/hypercorn_edge/src"

KEY = "io.modelcontextprotocol/"
WHO = {"name": "bench", "version": "0"}
CALL: dict[str, Any] = {
    "name": "read",
    "arguments": {"path": "src/codeintel/app.py", "end_line": 20},
}
GENERATIONS = ("2025-11-25", "2026-07-28")
H2, H3 = PROTOCOLS = ("HTTP/2", "HTTP/3")
STACKS = ("nginx + codeintel", "caddy + uvicorn, untuned")

NGINX = """
daemon off; user {user}; pid nginx.pid; error_log nginx.log warn; worker_processes auto;
events {{ worker_connections 1024; }}
http {{
    access_log access.log; client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    keepalive_requests 1000000;
    upstream app {{ server unix:app.socket; keepalive 32; keepalive_requests 1000000; }}
    server {{
        listen 127.0.0.1:{port} ssl http2; {quic}
        ssl_certificate certificate.pem; ssl_certificate_key key.pem;
        location / {{
            proxy_pass http://app; proxy_http_version 1.1; proxy_buffering off;
            proxy_set_header Connection ""; proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Request-ID $request_id;
        }}
    }}
}}
"""
# As the role sets them: nginx is to close its idle connections first.
EDGE_SETTINGS = """
bind = "unix:app.socket"
keep_alive_max_requests = 1000000000
keep_alive_timeout = 75
[edge]
forwarded_hops = 1
"""
CADDY = """
{{
    admin off
    auto_https disable_redirects
}}
https://localhost:{port} {{
    bind 127.0.0.1
    tls certificate.pem key.pem
    reverse_proxy 127.0.0.1:{app_port} {{
        flush_interval -1
    }}
}}
"""


MOST_CALLS = 5000
"""Calls a second that no one client makes."""

OVER = 124
"""What timeout exits with when the time is over."""


@dataclass
class Cell:
    """What one stack did in one generation over one protocol.

    The microseconds of each call, the seconds that it took, and those that its processors worked.
    """

    calls: list[int] = field(default_factory=list)
    seconds: float = 0.0
    busy: float = 0.0
    failed: int = 0

    def summary(self) -> dict[str, float]:
        """Return calls a second and milliseconds."""
        cuts = quantiles(self.calls, n=100)
        return {
            "calls": len(self.calls),
            "failed": self.failed,
            "calls_per_second": round(len(self.calls) / self.seconds, 1),
            "p50_ms": round(cuts[49] / 1000, 2),
            "p99_ms": round(cuts[98] / 1000, 2),
            "cpu_ms": round(self.busy / len(self.calls) * 1000, 2),
        }


def main() -> None:
    """Run everything; takes 8 x rounds x seconds, and ten more to start."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=4, help="of each round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    missing = [name for name in ("nginx", "caddy", "curl", "h2load") if not shutil.which(name)]
    if missing:
        sys.exit(f"install first: {' '.join(missing)} (h2load is in nghttp2-client)")
    os.nice(max(0, 10 - os.nice(0)))
    quic = "http_v3" in said("nginx", "-V") and "HTTP3" in said("curl", "--version")
    protocols = PROTOCOLS if quic else (H2,)
    cells = {(p, g, s): Cell() for p in protocols for g in GENERATIONS for s in STACKS}
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        build_index(ROOT / "app", "app", folder / "indexes")
        stacks = dict(
            zip(
                STACKS,
                (stack.enter_context(ours(folder, quic=quic)), stack.enter_context(theirs(folder))),
                strict=True,
            )
        )
        for number in range(options.rounds + 1):
            for (protocol, generation, name), cell in cells.items():
                warming = number == 0
                seconds = 1 if warming else options.seconds
                port, sessions = stacks[name]
                before = busy_seconds(sessions)
                client = call_by_curl if protocol == H3 else call_by_h2load
                clients = prepare(folder, port, generation, options.clients)
                measured, failed = load(client, folder, clients, seconds)
                if not warming:
                    cell.busy += busy_seconds(sessions) - before
                    cell.calls += measured
                    cell.failed += failed
                    cell.seconds += seconds
    report(cells)


def report(cells: dict[tuple[str, str, str], Cell]) -> None:
    """Print the table and the JSON."""
    results: dict[str, dict[str, Any]] = {}
    for protocol, generation in dict.fromkeys(key[:2] for key in cells):
        summaries = {name: cells[protocol, generation, name].summary() for name in STACKS}
        mine, other = (summaries[name] for name in STACKS)
        ratios = {
            key: round(mine[key] / other[key], 2)
            for key in ("calls_per_second", "p50_ms", "p99_ms", "cpu_ms")
        }
        results[f"{protocol} {generation}"] = {**summaries, "ratio": ratios}
        for name, line in (*summaries.items(), ("ratio", ratios)):
            print(
                f"{protocol}  {generation}  {name:24} {line['calls_per_second']:7} calls/s"
                f"  p50 {line['p50_ms']:6} ms  p99 {line['p99_ms']:6} ms"
                f"  processor {line['cpu_ms']:5} ms a call"
                f"  failed {line.get('failed', '')}",
                file=sys.stderr,
            )
    versions = {name: version(name) for name in ("fastmcp", "mcp", "hypercorn", "uvicorn")}
    versions["nginx"] = said("nginx", "-v").rpartition("/")[2]
    versions["caddy"] = said("caddy", "version").split()[0]
    versions["python"] = sys.version.split()[0]
    print(json.dumps({"results": results, "versions": versions}, indent=2))


def said(*command: str) -> str:
    """Return what a command prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return (done.stdout + done.stderr).strip()


def request(generation: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the body and the headers of the call."""
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": generation,
    }
    params: dict[str, Any] = dict(CALL)
    if generation == GENERATIONS[1]:
        meta = {"protocolVersion": generation, "clientInfo": WHO, "clientCapabilities": {}}
        params["_meta"] = {KEY + name: value for name, value in meta.items()}
        headers |= {"Mcp-Method": "tools/call", "Mcp-Name": CALL["name"]}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, headers


def post(
    port: int, body: object, headers: dict[str, str], *, retry: bool = True
) -> tuple[str, str]:
    """Return what is answered, and the session."""
    context = ssl._create_unverified_context()  # noqa: S323 (the certificate is made here)
    asked = urllib.request.Request(
        f"https://localhost:{port}/mcp", json.dumps(body).encode(), headers
    )
    while True:
        try:
            with urllib.request.urlopen(asked, context=context, timeout=20) as answer:  # noqa: S310
                return answer.read().decode(), answer.headers.get("mcp-session-id", "")
        except urllib.error.HTTPError as error:
            # Caddy sends on connections that uvicorn has just closed for being idle.
            if not retry or error.code != HTTPStatus.BAD_GATEWAY:
                raise


def open_session(port: int) -> str:
    """Return the name of a new session."""
    params = {"protocolVersion": GENERATIONS[0], "capabilities": {}, "clientInfo": WHO}
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    _, headers = request(GENERATIONS[0])
    return post(port, body, headers)[1]


def prepare(folder: Path, port: int, generation: str, clients: int) -> list[tuple[str, list[str]]]:
    """Return the address and the lines of the head of each client; the body is in a file."""
    body, headers = request(generation)
    (folder / "body.json").write_text(json.dumps(body))
    prepared = []
    for number in range(clients):
        if generation == GENERATIONS[0]:
            headers |= {"Mcp-Session-Id": open_session(port)}
        if number == 0:
            answer, _ = post(port, body, headers)
            if '"isError":true' in answer or '"result"' not in answer:
                sys.exit(f"the call does not work: {answer[:500]}")
        lines = [f"{name}: {value}" for name, value in headers.items()]
        prepared.append((f"https://localhost:{port}/mcp", lines))
    return prepared


def call_by_h2load(url: str, head: list[str], log: Path, seconds: int) -> list[str]:
    """Return the command of a client that writes status and microseconds of each call to `log`."""
    limits = [f"--duration={seconds}", "--clients=1", "--max-concurrent-streams=1"]
    lines = [f"--header={line}" for line in head]
    return ["h2load", *limits, *lines, "--data=body.json", f"--log-file={log}", url]


def call_by_curl(url: str, head: list[str], log: Path, seconds: int) -> list[str]:
    """Return the same for HTTP/3. curl counts up a query, which the application does not read."""
    lines = [part for line in head for part in ("--header", line)]
    shown = f"%output{{>>{log}}}0\t%{{http_code}}\t%{{time_total}}\n"
    curl = ["curl", "--silent", "--http3-only", "--insecure", *lines, "--data-binary", "@body.json"]
    curl += ["--output", "/dev/null", "--write-out", shown]
    return ["timeout", str(seconds), *curl, f"{url}?[1-{MOST_CALLS * seconds}]"]


def load(
    client: Callable[[str, list[str], Path, int], list[str]],
    folder: Path,
    clients: list[tuple[str, list[str]]],
    seconds: int,
) -> tuple[list[int], int]:
    """Call for so long; return the microseconds of each call, and how many failed."""
    running = []
    for number, (url, head) in enumerate(clients):
        log = folder / f"calls-{number}"
        log.unlink(missing_ok=True)
        command = client(url, head, log, seconds)
        running.append((log, subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)))
    times, failed = [], 0
    for log, process in running:
        if process.wait(seconds + 30) not in {0, OVER}:
            sys.exit(f"{process.args!r} failed")
        for line in log.read_text().splitlines():
            _, status, microseconds = line.split("\t")[:3]
            if status == "200":
                times.append(round(float(microseconds) * (1e6 if "." in microseconds else 1)))
            else:
                failed += 1
    return times, failed


@contextmanager
def ours(folder: Path, *, quic: bool) -> Iterator[tuple[int, set[int]]]:
    """Run nginx, the server of the hypercorn_service role and the product.

    Yields the port and the sessions of the kernel that the processes are in.
    """
    port = free_port()
    certify(folder)
    listen = f"listen 127.0.0.1:{port} quic reuseport;" if quic else ""
    (folder / "nginx.conf").write_text(NGINX.format(port=port, user=getuser(), quic=listen))
    (folder / "edge.toml").write_text(EDGE_SETTINGS)
    edge = [sys.executable, str(EDGE), "--config", "edge.toml", "codeintel.asgi:app"]
    nginx = ["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "nginx.log"]
    with running(folder, edge) as app, running(folder, nginx) as proxy:
        wait_for(port)
        yield port, {app, proxy}


@contextmanager
def theirs(folder: Path) -> Iterator[tuple[int, set[int]]]:
    """Run Caddy, uvicorn as it comes, and the product untuned; yields as `ours` does."""
    port, app_port = free_port(), free_port()
    (folder / "Caddyfile").write_text(CADDY.format(port=port, app_port=app_port))
    uvicorn = [sys.executable, "-m", "uvicorn", "--port", str(app_port), "untuned:app"]
    caddy = ["caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"]
    with running(folder, uvicorn) as app, running(folder, caddy) as proxy:
        wait_for(port)
        yield port, {app, proxy}


@contextmanager
def running(folder: Path, command: list[str]) -> Iterator[int]:
    """Run a server in a session of its own, which is yielded; its output goes to a file."""
    own = {
        "CODEINTEL_INDEX_DIR": str(folder / "indexes"),
        "CODEINTEL_AUTH": "none",
        "CODEINTEL_RATE_LIMIT": "",
        "PYTHONPATH": str(HERE),
        "HOME": str(folder),
    }
    name = "-".join(Path(part).name for part in command[:3])
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | own,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def busy_seconds(sessions: set[int]) -> float:
    """Return how long processors have worked for the processes of the sessions."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[3]) in sessions:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def wait_for(port: int) -> None:
    """Return as soon as the port answers calls. Exits after a minute."""
    deadline = time.monotonic() + 60
    while True:
        try:
            post(port, *request(GENERATIONS[1]), retry=False)
            return
        except OSError as error:
            if time.monotonic() > deadline:
                sys.exit(f"port {port} does not answer: {error}")
            time.sleep(0.1)


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def certify(folder: Path) -> None:
    """Write a certificate of localhost and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    private = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(pem, private, serialization.NoEncryption()))


if __name__ == "__main__":
    main()
