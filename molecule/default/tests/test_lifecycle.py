"""What happens when something changes: certificates, failing issues, settings, a second run."""

from __future__ import annotations

import os

import pytest
from lab import ADDRESSES, SCENARIO, Curl, connect, play, unit_pid, until
from testinfra.host import Host

CONVERGE = str(SCENARIO / "converge.yml")
DOOMED = str(SCENARIO / "doomed.yml")
PREFLIGHT = str(SCENARIO / "preflight.yml")


def refused(playbook: str) -> str:
    """Run a playbook that preflight must stop, and return what it said."""
    run = play(playbook)
    assert run.returncode != 0
    assert "Nothing was changed" in run.stdout
    assert "changed=0" in run.stdout
    return run.stdout


def serial(client: Host, domain: str) -> str:
    shown = client.run(
        f"openssl s_client -connect {domain}:443 -servername {domain} </dev/null 2>/dev/null"
        " | openssl x509 -noout -serial"
    )
    return str(shown.stdout)


def processes(target: Host) -> str:
    return str(target.run("pgrep nginx | sort | xargs").stdout)


def test_a_renewed_certificate_is_served_without_a_reload(client: Host, target: Host) -> None:
    before, workers = serial(client, "mcp.test"), processes(target)
    client.run(
        "curl -sSN --http3-only --max-time 60 https://echo.test/endless > /tmp/stream 2>&1 &"
    )
    result = target.run(
        "certbot renew --cert-name codeintel --force-renewal --no-random-sleep-on-renew"
    )
    assert result.rc == 0, result.stderr
    after = serial(client, "mcp.test")
    assert after != before
    quic = client.run(
        "curl -sS --http3-only --max-time 5 -w '%{certs}' -o /dev/null https://mcp.test/api/livez"
    )
    assert quic.rc == 0
    assert processes(target) == workers
    lines = client.run("wc -l < /tmp/stream").stdout.strip()
    assert until(client, f"[ $(wc -l < /tmp/stream) -gt {lines} ]")
    client.run("pkill curl")


def test_renewal_waits_until_a_day_before_the_last_third_of_the_lifetime(target: Host) -> None:
    conf = target.file("/etc/letsencrypt/renewal/codeintel.conf").content_string
    assert conf.count("renew_before_expiry") == 1
    seconds = int(conf.split("renew_before_expiry = ")[1].split()[0])
    assert seconds == pytest.approx(31 * 86400, abs=60)
    result = target.run("certbot renew --cert-name codeintel --no-random-sleep-on-renew")
    assert "not yet due" in result.stdout + result.stderr
    assert target.run("systemctl is-active certbot.timer").stdout.strip() == "active"


def test_a_short_lived_certificate_is_renewed_a_day_before_its_last_third(target: Host) -> None:
    """The hook, with a certificate of six days."""
    result = target.run(
        "set -e; rm -rf /tmp/six /tmp/served; mkdir /tmp/six; cd /tmp/six;"
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 6 -subj /CN=six"
        " -keyout privkey.pem -out fullchain.pem 2>/dev/null;"
        "cd /etc/letsencrypt; sed /renew_before/d renewal/codeintel.conf > renewal/six.conf;"
        "sed -e s,^destin.*,destination=/tmp/served, -e s,^public.*,public=/tmp/served/public.pem,"
        " mcp-edge-codeintel.conf > mcp-edge-six.conf;"
        "RENEWED_LINEAGE=/tmp/six ./mcp-edge-deploy six;"
        "head -1 renewal/six.conf; rm renewal/six.conf mcp-edge-six.conf"
    )
    assert result.stdout == f"renew_before_expiry = {3 * 86400} seconds\n", result.stderr
    assert target.file("/tmp/served/current/privkey.pem").group == "www-data"
    public = target.file("/tmp/served/public.pem")
    assert public.mode == 0o644
    assert "PRIVATE KEY" not in public.content_string


def test_logs_are_rotated_and_written_on(curl: Curl, target: Host) -> None:
    assert target.run("systemctl is-active logrotate.timer").stdout.strip() == "active"
    assert target.run("logrotate --force /etc/logrotate.d/nginx").rc == 0
    assert until(target, "[ -e /var/log/nginx/echo.log.1 ]")
    curl("https://echo.test/after-rotation")
    assert until(target, "grep -q after-rotation /var/log/nginx/echo.log")


def test_configuration_that_somebody_wrote_is_not_replaced(curl: Curl, target: Host) -> None:
    target.run("echo 'server { listen 80 default_server; }' > /etc/nginx/conf.d/foreign.conf")
    try:
        assert "/etc/nginx/conf.d/foreign.conf" in refused(DOOMED)
    finally:
        target.run("rm /etc/nginx/conf.d/foreign.conf")
    assert curl("https://mcp.test/api/livez").status == 200


def test_both_instances_share_one_acme_account(target: Host) -> None:
    accounts = target.run("ls /etc/letsencrypt/accounts/acme.test:14000/dir").stdout.split()
    assert len(accounts) == 1


def test_a_failed_issue_leaves_the_placeholder_and_the_next_run_tries_again(
    curl: Curl,
) -> None:
    """The ACME server cannot resolve doomed.test at first."""
    acme = connect("acme")
    first = play(DOOMED)
    assert first.returncode != 0
    assert "No certificate for doomed.test" in first.stdout
    assert "Detail:" in first.stdout
    there = ("--resolve", f"doomed.test:443:{ADDRESSES['target']}")
    answer = curl("https://doomed.test/", "--insecure", *there)
    assert answer.status == 502
    assert curl("https://mcp.test/api/livez").status == 200

    acme.run(f"echo '{ADDRESSES['target']} doomed.test' >> /etc/hosts")
    second = play(DOOMED)
    assert second.returncode == 0, second.stdout[-3000:]
    assert curl("https://doomed.test/", *there).status == 502


def test_check_mode_on_the_converged_host_predicts_and_hides_secrets() -> None:
    quiet = play(CONVERGE, "--check", "--diff")
    assert quiet.returncode == 0, quiet.stdout[-3000:]
    assert "changed=0" in quiet.stdout
    assert "a-secret-of-the-tests" not in quiet.stdout

    os.environ["ECHO_TOKEN"] = "another-secret"
    try:
        other = play(CONVERGE, "--check", "--diff", "-vvv", "-e", "nginx_quic_hsts_max_age=60")
    finally:
        del os.environ["ECHO_TOKEN"]
    assert other.returncode == 0
    assert "+    add_header Strict-Transport-Security 'max-age=60' always;" in other.stdout
    assert "changed=0" not in other.stdout
    for secret in ("another-secret", "a-secret-of-the-tests"):
        assert secret not in other.stdout


def test_a_setting_that_the_app_refuses_leaves_the_old_service_serving(
    curl: Curl, target: Host
) -> None:
    pid = unit_pid(target, "codeintel")
    run = play(CONVERGE, "-e", '{"mcp_app_settings": {"CODEINTEL_LOG_LEVLE": "info"}}')
    assert run.returncode != 0
    assert "CODEINTEL_LOG_LEVLE" in run.stdout
    assert curl("https://mcp.test/api/livez").status == 200
    assert unit_pid(target, "codeintel") == pid
    assert "LEVLE" not in target.file("/etc/codeintel/environment").content_string


def test_a_taken_port_is_named_with_its_holder() -> None:
    client = connect("client")
    client.run("systemd-run --unit=squatter python3 -m http.server 80")
    assert until(client, "ss -Hltn sport = :80 | grep -q .")
    try:
        assert "python3" in refused(PREFLIGHT)
    finally:
        client.run("systemctl stop squatter")


def test_an_nginx_without_http3_is_refused() -> None:
    """The nginx of the release before Debian 13 was built without QUIC; "nginx -V" says so."""
    client = connect("client")
    older = client.run(
        "set -e; cd /tmp; list=/etc/apt/sources.list.d/older.list;"
        "sed s/trixie/bookworm/ /etc/apt/sources.list > $list;"
        "apt-get -qq update; apt-get -qq download nginx/bookworm;"
        "dpkg-deb -x nginx_1.22*.deb older;"
        "rm $list; ln -s /tmp/older/usr/sbin/nginx /usr/local/bin/nginx"
    )
    assert older.rc == 0, older.stderr
    try:
        said = refused(PREFLIGHT)
    finally:
        client.run("rm -rf /usr/local/bin/nginx /tmp/older")
    assert "nginx/1.22" in said
    assert "without http_v3_module" in " ".join(said.split())
