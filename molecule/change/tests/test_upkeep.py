"""What happens to a host over the years, while it is in use."""

from __future__ import annotations

import ssl
import time
import urllib.request
from pathlib import Path

import pytest
from changing import DEPLOY, HOSTS, SITE, Edge, nothing_lost, slowest
from lab import ADDRESSES, LAB, ROOT, SCENARIO, Curl, connect, until
from power import restart
from steadily import KEPT, root
from testinfra.host import Host

CERTIFICATES = str(SCENARIO / "certificates.yml")
CERTIFICATE = "/etc/nginx/certificates/codeintel/current/fullchain.pem"
# An ACME server beside the one of the lab whose certificates last for 90 s.
SHORT_LIVED = """
set -e
! systemctl is-active --quiet pebble-short || exit 0
sed 's/14000/14001/; s/15000/15001/; s/7776000/90/' /etc/pebble/pebble.json > /etc/pebble/short.json
systemd-run --quiet --unit=pebble-short --setenv=PEBBLE_VA_NOSLEEP=1 \
  --setenv=PEBBLE_WFE_NONCEREJECT=0 pebble -config /etc/pebble/short.json -strict
for i in $(seq 100); do curl -ks https://localhost:15001/roots/0 && exit; sleep 0.1; done
"""


@pytest.fixture
def both_roots() -> Path:
    """Return a file with the roots of both ACME servers."""
    connect("acme").check_output(SHORT_LIVED)
    unchecked = ssl._create_unverified_context()
    url = f"https://{ADDRESSES['acme']}:15001/roots/0"
    with urllib.request.urlopen(url, context=unchecked, timeout=10) as answer:
        other = answer.read().decode()
    path = ROOT / f".cache/lab/{LAB}-roots.pem"
    path.write_text(root().read_text() + other)
    return path


def serial(edge: Edge) -> str:
    """Return that of the certificate which is served."""
    ask = f"openssl s_client -connect {edge.domain}:443 -servername {edge.domain} </dev/null"
    served = connect("client").check_output(f"{ask} 2>/dev/null | openssl x509 -noout -serial")
    return str(served)


def test_a_certificate_of_90_seconds_is_renewed(both_roots: Path) -> None:
    """By certbot's own service, when it is due, on both hosts at a time."""
    edges = [Edge(name, connect(name)) for name in HOSTS]
    for edge in edges:
        edge.change(CERTIFICATES, certbot_webroot_directory_url="https://acme.test:14001/dir")
    not_due = f"openssl x509 -noout -checkend 30 -in {CERTIFICATE}"
    try:
        for edge in edges:
            edge.run("certbot renew --quiet --no-random-sleep-on-renew")  # it may be old by now
            before = serial(edge)
            assert until(edge.host, f"! {not_due}", 100)
            with edge.loaded(f"--ca-file={both_roots}") as report:
                edge.run("systemctl start certbot.service")
                assert serial(edge) != before
            nothing_lost(report)
            assert report["totals"]["streams"]["ended"] == 0
    finally:
        for edge in edges:
            edge.change(CERTIFICATES)


def test_a_change_of_the_site_reaches_new_connections(edge: Edge, curl: Curl) -> None:
    name = "nginx_quic_hsts_max_age" if edge.terminating else "nginx_quic_stream_timeout"
    with edge.loaded() as report:
        said = edge.change(SITE, **{name: 1234})
        assert "Reload nginx for a change" in said
        if edge.terminating:
            for protocol in ("h1", "h2", "h3"):
                answer = curl(f"https://{edge.domain}/api/livez", protocol=protocol)
                assert answer.headers["strict-transport-security"] == "max-age=1234"
    assert report["totals"]["streams"]["broken"] == 0
    if edge.terminating:
        nothing_lost(report)
    else:  # a handshake of HTTP/3 that nginx's reload falls into is lost
        failed = [
            (cell["protocol"], cell["connection"], cell["failed"]) for cell in report["requests"]
        ]
        assert sum(count for *_, count in failed) <= 1, failed
        assert all(cell[:2] == ("h3", "fresh") for cell in failed if cell[2]), failed
    assert slowest(report, "h3") < 3


def test_an_old_worker_ends_in_time(one: Edge, client: Host) -> None:
    """Though a client is still sending what it asks, a few bytes at a time."""
    old = "pgrep -f '[w]orker process is shutting down'"
    one.change(SITE, nginx_quic_worker_shutdown_timeout=4)
    client.run(
        "(head -c 100000 /dev/zero | curl -s --limit-rate 400 --max-time 60 --data-binary @-"
        f" https://{one.domain}/mcp >/dev/null 2>&1 &)"
    )
    assert until(one.host, "ss -Htn state established sport = :443 | grep -q .", 10)
    one.run("systemctl reload nginx")
    began = time.monotonic()
    assert until(one.host, old, 2)
    assert until(one.host, f"! {old}", 10)
    assert time.monotonic() - began > 2  # not before the time was over
    assert "Reload nginx for a change" in one.change(SITE)


def test_what_a_run_that_was_cut_off_has_left_is_taken_up(one: Edge) -> None:
    """It has written files and told nobody."""
    one.run("touch /etc/nginx/conf.d/codeintel.conf")
    assert "Reload nginx for a change" in one.change(SITE, "--check")
    one.run("touch /etc/systemd/system/nginx.service.d/mcp-edge.conf")
    said = one.change(SITE)
    assert "Reload nginx for a change" in said
    assert "Restart nginx for a change" in said
    assert "changed=0" in one.change(SITE)


def test_an_upgrade_of_the_package(edge: Edge) -> None:
    """The same version once more: the scripts of the package do the same."""
    before = edge.run("cat /run/nginx.pid")
    with edge.loaded() as report:
        edge.run(
            "DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --reinstall nginx nginx-common"
            " >/dev/null 2>&1"
        )
        assert edge.run("cat /run/nginx.pid") != before
    if edge.terminating:
        nothing_lost(report, within=3)
    else:  # connections over TCP go through nginx, and end with it
        assert report["totals"]["failed"] == 0
        assert slowest(report) < 3
        (h3,) = (stream for stream in report["streams"] if stream["protocol"] == "h3")
        assert h3["broken"] == h3["failed"] == 0, h3
    assert "mcp_edge_pause" not in edge.run("nft list tables")
    # One process has all sockets: of one that hands them over, QUIC's would be left to nobody.
    assert edge.run("pgrep -c -f '[m]aster process /usr/sbin/nginx'") == "1"


def test_who_stops_nginx_meets_closed_ports(edge: Edge, client: Host) -> None:
    edge.run("systemctl stop nginx")
    try:
        refused = client.run("curl -sS --max-time 3 https://%s/", edge.domain)
        assert refused.rc == 7
    finally:
        edge.run("systemctl start nginx")


def test_who_restarts_nginx_in_vain_meets_closed_ports_soon(edge: Edge, client: Host) -> None:
    """Also while systemd tries to start it each second."""
    broken = "/etc/nginx/conf.d/broken.conf"
    edge.run(f"echo broken > {broken}")
    try:
        assert edge.host.run("systemctl restart nginx").rc != 0
        refused = f"curl -sS --max-time 1 https://{edge.domain}/; [ $? = 7 ]"
        assert until(client, refused, 30)
    finally:
        edge.run(f"rm {broken} && systemctl restart nginx")
    assert "mcp_edge_pause" not in edge.run("nft list tables")


def test_settings_and_secrets_are_others(edge: Edge) -> None:
    process = edge.process()
    with edge.loaded() as report:
        edge.change(
            DEPLOY, mcp_app_secrets={"codeintel_shared_key": "the key that the tests go on with"}
        )
    nothing_lost(report, within=edge.hand_over)
    assert edge.process() != process
    assert edge.settled()

    for given, names in (
        ({"mcp_app_secrets": {"another": "secret"}}, "another, codeintel_shared_key"),
        ({"mcp_app_asgi": "codeintel.other:app"}, "codeintel.asgi:app, codeintel.other:app"),
    ):
        status, said = edge.play(DEPLOY, **given)
        assert status != 0
        assert f"not given any more: {names}. Run the playbook" in said
        assert "changed=0" in said


def test_logs_are_rotated(edge: Edge) -> None:
    log = f"/var/log/nginx/codeintel{'' if edge.terminating else '-stream'}.log"
    before = edge.run(f"stat -c %i {log}")
    with edge.loaded() as report:
        edge.run("logrotate --force /etc/logrotate.d/nginx; journalctl --rotate")
        assert edge.run(f"stat -c %i {log}") != before
        assert until(edge.host, f"[ -s {log} ]", 30)
    nothing_lost(report)


def test_an_index_is_another(edge: Edge) -> None:
    process = edge.process()
    index = edge.run("ls /var/lib/codeintel-index/indexes/lab.*.sqlite")
    before = edge.run(f"stat -c %i {index}")
    edge.run("echo '# another line' >> /usr/lib/python3.13/this.py")
    with edge.loaded() as report:
        edge.run("systemctl start codeintel-index@lab.service")
    nothing_lost(report)
    assert edge.run(f"stat -c %i {index}") != before
    assert edge.process() == process


def test_a_reboot(edge: Edge, curl: Curl) -> None:
    """All comes back by itself: the service, what leads to it, and whom it keeps off."""
    edge.change(SITE)
    edge.run("fail2ban-client set mcp-codeintel banip 203.0.113.9")
    rules = edge.run("ip rule; ip -6 rule")
    began = time.monotonic()
    restart(edge)
    for protocol in ("h1", "h2", "h3"):
        assert curl(f"https://{edge.domain}/api/readyz", protocol=protocol).status == 200
    took = f"{time.monotonic() - began:.1f} s from the order to the last answer\n"
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"reboot-{edge.name}.txt").write_text(took)
    assert edge.run("ip rule; ip -6 rule") == rules
    assert until(edge.host, "fail2ban-client status mcp-codeintel | grep -q 203.0.113.9", 30)
    assert "203.0.113.9" in edge.run("nft list ruleset")
    edge.run("fail2ban-client unban 203.0.113.9")
    assert "changed=0" in edge.change(SITE)
