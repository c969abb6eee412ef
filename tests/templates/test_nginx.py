"""nginx's configuration, as its reader finds it on the host."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ansible.template import Templar

    from .conftest import Render

NO_IPV6: dict[str, object] = {"__nginx_quic_survey": {"stdout_lines": []}}
SITE = "nginx_quic/site.conf.j2"
# What gixy finds and why it stays.
ACCEPTED = {
    "quic_bpf_reuseport": "without it reloads measured no better, and renewals need none",
}
STREAM = "nginx_quic/stream.conf.j2"
PASSTHROUGH: dict[str, object] = {"mcp_edge_topology": "passthrough"}
TEMPLATES = (SITE, "nginx_quic/edge.conf.j2", "nginx_quic/nginx.conf.j2")


def blocks(text: str) -> Iterator[list[str]]:
    """Yield every block as its directives and the heads of the blocks in it."""
    stack: list[list[str]] = [[]]
    for line in (line.strip() for line in text.splitlines()):
        if line.endswith("{"):
            stack[-1].append(line)
            stack.append([])
        elif line == "}":
            yield stack.pop()
        elif line and not line.startswith("#"):
            stack[-1].append(line)
    (outermost,) = stack
    yield outermost


def names(text: str) -> set[str]:
    """Return the names that a site's configuration gives to upstreams and variables."""
    named = re.findall(r"^(?:upstream|geo|map \S+) (\S+) {", text, re.MULTILINE)
    return set(named) | set(re.findall(r" zone=(\w+):", text))


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_block_says_a_thing_twice(render: Render, template: str) -> None:
    for block in blocks(render(template)):
        lines = Counter(line for line in block if line != "server {")
        assert [line for line, count in lines.items() if count > 1] == []


def test_the_site_is_short_and_decides_nothing_at_a_request(render: Render) -> None:
    text = render(SITE)
    assert re.findall(r"^\s*(?:if|set|rewrite)\b.*", text, re.MULTILINE) == []
    assert len(text.splitlines()) <= 90


def test_a_reader_finds_the_endpoint_in_the_site(render: Render) -> None:
    text = render(SITE, nginx_quic_name="my-app", nginx_quic_domain="app.example")
    assert "upstream my-app {\n    server unix:/run/my-app/http.sock;" in text
    assert text.count("server_name app.example;") == 2
    assert all(re.search("my-app$|_my_app$", name) for name in names(text))
    assert "default /etc/nginx/certificates/my-app/current;" in text


@pytest.mark.parametrize("template", TEMPLATES[:2])
def test_ipv6_is_listened_on_where_the_kernel_has_it(render: Render, template: str) -> None:
    both = re.findall(r"listen (\S+:)?(\d+)( ssl| quic|)", render(template))
    four = re.findall(r"listen (\S+:)?(\d+)( ssl| quic|)", render(template, **NO_IPV6))
    assert {("[::]:", *listener[1:]) for listener in four if not listener[0]} < set(both)
    assert "[::]" not in render(template, **NO_IPV6)


def test_two_sites_share_no_name(render: Render) -> None:
    one = render(SITE, nginx_quic_name="one", nginx_quic_domain="one.test")
    two = render(SITE, nginx_quic_name="one-two", nginx_quic_domain="two.test")
    assert len(names(one)) == len(names(two)) == 7
    assert not names(one) & names(two)
    shared = names(render("nginx_quic/edge.conf.j2"))
    assert not shared & (names(one) | names(two))


def test_headers_are_added_in_one_place(render: Render) -> None:
    """A location with an add_header of its own would lose those of the server."""
    for block in blocks(render(SITE)):
        added = [line for line in block if line.startswith("add_header")]
        assert not added or any(line.startswith("listen") for line in block)


def test_a_form_tells_its_own_site_where_it_comes_from(render: Render) -> None:
    """With no-referrer a browser posts it with the origin null, which apps refuse."""
    answers = render("nginx_quic/answers.conf.j2")
    assert "add_header Referrer-Policy 'same-origin' always;\n" in answers
    settings = render("hypercorn_service/hypercorn.toml.j2", **PASSTHROUGH)
    assert '"Referrer-Policy" = "same-origin"\n' in settings


@pytest.mark.parametrize("path", ["/api/metrics", "/a b"])
def test_private_paths_are_answered_by_nginx(render: Render, path: str) -> None:
    text = render(SITE, nginx_quic_private_paths=[path])
    assert f"location = {path} {{\n        return 404;" in text


def test_metrics_are_open_only_where_the_app_guards_them(render: Render) -> None:
    refusal = "location = /api/metrics"
    assert refusal in render(SITE)
    assert refusal not in render(SITE, nginx_quic_app_guards_metrics=True)
    own = {"nginx_quic_private_paths": ["/metrics"], "nginx_quic_app_guards_metrics": True}
    assert "location = /metrics" in render(SITE, **own)


def test_workers_may_open_what_their_connections_take(render: Render) -> None:
    text = render("nginx_quic/nginx.conf.j2", nginx_quic_worker_connections="2000")
    assert "worker_connections 2000;" in text
    assert "worker_rlimit_nofile 4000;" in text
    confinement = render("nginx_quic/confinement.conf.j2", nginx_quic_worker_connections="2000")
    assert "LimitNOFILE=4000\n" in confinement


@pytest.mark.parametrize(("code", "state", "right"), [(0, "on", True), (1, "off", False)])
def test_quic_packets_are_steered_where_the_host_allows_it(
    render: Render, code: int, state: str, right: bool
) -> None:
    given = {"__nginx_quic_bpf": {"rc": code}}
    assert f"quic_bpf {state};" in render("nginx_quic/nginx.conf.j2", **given)
    confinement = render("nginx_quic/confinement.conf.j2", **given)
    assert ("CAP_BPF" in confinement) is right
    assert ("@system-service bpf" in confinement) is right


def test_each_line_of_the_log_is_one_json_object(render: Render) -> None:
    text = render("nginx_quic/edge.conf.j2")
    (lines,) = re.findall(r"log_format mcp_edge escape=json((?:\s+'.*')+);", text)
    fields = json.loads("".join(re.findall(r"'(.*)'", lines)))
    assert list(fields)[:4] == ["time", "status", "address", "net"]
    assert fields["request_id"] == "$request_id"


NETS = {
    "192.0.2.7": "192.0.2.7",
    "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
    "2001:db8:1:2::5": "2001:db8:1:2::/64",
    "2001:db8:1::5": "2001:db8:1::/64",
    "2001:db8::5": "2001:db8::/64",
    "2001:db8::1:2:3:4": "2001:db8::/64",
    "2001::1:2:3:4:5": "2001:0:0:1::/64",
    "2001::5": "2001::/64",
    "2001:db8:0:1:0:2:3:4": "2001:db8:0:1::/64",
    "::1": "::/64",
}


@pytest.mark.parametrize(("address", "net"), NETS.items())
def test_an_ipv6_client_counts_as_its_64(render: Render, address: str, net: str) -> None:
    """As nginx's map does it: the first pattern that matches."""
    (block,) = re.findall(
        r"map \$remote_addr \$mcp_edge_net {(.*?)}\n", render("nginx_quic/edge.conf.j2"), re.DOTALL
    )
    for pattern, value in re.findall(r'"~(.+?)" (\S+);', block):
        if match := re.search(pattern, address):
            assert match.expand(value.replace("$", "\\")) == net
            return
    assert net == address


def test_where_packets_pass_nginx_ends_no_tls(render: Render) -> None:
    site = render(SITE, **PASSTHROUGH)
    edge = render("nginx_quic/edge.conf.j2", **PASSTHROUGH)
    assert re.findall(r"listen \S*443.*", site + edge) == []
    assert "ssl_certificate" not in site
    assert "location /.well-known/acme-challenge/ {" in site
    stream = render(STREAM, **PASSTHROUGH)
    listening = re.findall(r"listen (\S+?)( udp)? reuseport", stream)
    assert listening == [("443", ""), ("[::]:443", ""), ("443", " udp"), ("[::]:443", " udp")]
    assert stream.count("proxy_bind $remote_addr transparent;") == 2
    assert "[::]:" not in render(STREAM, **PASSTHROUGH, **NO_IPV6)
    confinement = render("nginx_quic/confinement.conf.j2", **PASSTHROUGH)
    assert "Requires=mcp-edge-passthrough.service" in confinement
    assert re.findall(r"CAP_NET_\w+", confinement) == ["CAP_NET_BIND_SERVICE", "CAP_NET_RAW"]
    assert "quic_bpf off;" in render("nginx_quic/nginx.conf.j2", **PASSTHROUGH)


def test_another_name_goes_elsewhere_without_the_clients_address(render: Render) -> None:
    given = PASSTHROUGH | {"nginx_quic_sni_backends": {"other.test": "127.0.0.1:9443"}}
    stream = render(STREAM, **given)
    assert "        other.test 127.0.0.1:9443;\n" in stream
    assert stream.count("ssl_preread on;") == 1
    assert "ssl_preread" not in render(STREAM, **PASSTHROUGH)
    assert "proxy_bind $mcp_edge_source transparent;" in stream


def test_gixy_finds_nothing_of_weight_but_what_is_accepted(render: Render, tmp_path: Path) -> None:
    (tmp_path / "mime.types").write_text("types { text/html html; }\n", encoding="utf-8")
    files = {
        "nginx.conf": render("nginx_quic/nginx.conf.j2"),
        "conf.d/00-mcp-edge.conf": render("nginx_quic/edge.conf.j2"),
        "conf.d/one.conf": render(SITE, nginx_quic_name="one", nginx_quic_domain="one.test"),
        "conf.d/two.conf": render(SITE, nginx_quic_name="two", nginx_quic_domain="two.test"),
        "snippets/mcp-edge-answers.conf": render("nginx_quic/answers.conf.j2"),
        "snippets/mcp-edge-proxy.conf": render("nginx_quic/proxy.conf.j2"),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    gixy = Path(sys.executable).with_name("gixy")
    run = subprocess.run(
        [gixy, "-ll", "--format=json", "nginx.conf"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "File not found" not in run.stderr
    found = {finding["plugin"] for finding in json.loads(run.stdout)}
    assert found == ACCEPTED.keys()


def test_what_nginx_has_not_taken_up_is_found(
    variables: Callable[..., Templar], tmp_path: Path
) -> None:
    """What was written, or removed, since it was started or reloaded, whoever did so."""
    program = variables("nginx_quic").resolve_variable_expression("__nginx_quic_newer")
    systemctl = tmp_path / "systemctl"
    since = tmp_path / "StateChangeTimestamp"
    systemctl.write_text(
        "#!/bin/sh\n"
        '[ "$2 $4 $5" = "--timestamp=us+utc --value nginx.service" ] && cat "${0%/*}/${3#*=}"\n'
    )
    systemctl.chmod(0o755)

    def taken_up() -> None:
        time.sleep(0.02)  # files know the time less exactly
        since.write_text(f"{datetime.now(UTC):%a %Y-%m-%d %H:%M:%S.%f} UTC\n", encoding="utf-8")
        time.sleep(0.02)

    def newer(*paths: Path) -> list[str]:
        run = subprocess.run(
            ["sh", "-c", program, "sh", since.name, *paths],
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        return run.stdout.splitlines()

    folder, missing = tmp_path / "conf.d", tmp_path / "passthrough.d"
    folder.mkdir()
    site, other = folder / "one.conf", folder / "two.conf"
    site.touch()
    other.touch()
    taken_up()
    assert newer(missing, folder) == []
    site.touch()
    assert newer(missing, folder) == [str(site)]
    taken_up()
    other.unlink()
    assert newer(missing, folder) == [str(folder)]


@pytest.mark.parametrize("topology", ["terminating", "passthrough"])
def test_systemd_understands_the_units(render: Render, tmp_path: Path, topology: str) -> None:
    unit = tmp_path / "nginx.service"
    unit.write_text("[Service]\nType=forking\nExecStart=/bin/true\n", encoding="utf-8")
    drop_in = tmp_path / "nginx.service.d/mcp-edge.conf"
    drop_in.parent.mkdir()
    given = {"mcp_edge_topology": topology}
    drop_in.write_text(render("nginx_quic/confinement.conf.j2", **given), encoding="utf-8")
    units = {
        "mcp-edge-passthrough.service": "passthrough.service.j2",
        "mcp-edge-nft@limits.service": "nft@.service.j2",
    }
    for name, template in units.items():
        text = render(f"nginx_quic/{template}", **given)
        # The analysis looks for the programs, which this machine need not have.
        text = re.sub(r"=(-?)(ip|nft) ", r"=\1true ", text)
        (tmp_path / name).write_text(text, encoding="utf-8")
    run = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit, *(tmp_path / name for name in units)],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.stderr, run.returncode) == ("", 0)
