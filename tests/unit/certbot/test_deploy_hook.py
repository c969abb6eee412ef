"""The deploy hook itself, in a folder that stands for /etc/letsencrypt."""

from __future__ import annotations

import grp
import os
import shutil
import subprocess
from pathlib import Path

import pytest

HOOK = Path(__file__).parents[3] / "roles/certbot_webroot/files/deploy"


def issue(lineage: Path, days: int) -> str:
    """Make a certificate as certbot keeps one, and return its text."""
    lineage.mkdir(exist_ok=True)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-noenc", "-days", str(days), "-subj", "/CN=x", "-keyout", "privkey.pem"]
    subprocess.run(
        [*command, "-out", "fullchain.pem"], cwd=lineage, check=True, capture_output=True
    )
    return (lineage / "fullchain.pem").read_text()


def deploy(home: Path, lineage: Path, *, status: int = 0) -> None:
    command = ["sh", "-c", 'umask 077; exec "$0" x', str(home / "mcp-edge-deploy")]
    environment = os.environ | {
        "RENEWED_LINEAGE": str(lineage),
        "PATH": f"{home}:{os.environ['PATH']}",
    }
    assert subprocess.run(command, check=False, env=environment).returncode == status


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "letsencrypt"
    (folder / "renewal").mkdir(parents=True)
    (folder / "renewal/x.conf").write_text("# renew_before_expiry = 30 days\nversion = 4.0.0\n")
    shutil.copy(HOOK, folder / "mcp-edge-deploy")
    (folder / "mcp-edge-deploy").chmod(0o755)
    (folder / "mcp-edge-x.conf").write_text(
        f"destination={tmp_path}/served\npublic={tmp_path}/etc/x/certificate.pem\n"
        f"group={grp.getgrgid(os.getgid()).gr_name}\nunit=\n"
    )
    return folder


@pytest.mark.parametrize(("days", "before"), [(6, 3), (45, 16), (90, 31), (398, 133 + 2 / 3)])
def test_it_renews_a_day_before_a_third_is_left(
    home: Path, tmp_path: Path, days: int, before: float
) -> None:
    issue(tmp_path / "x", days)
    for _ in range(2):
        deploy(home, tmp_path / "x")
        lines = (home / "renewal/x.conf").read_text().splitlines()
        assert lines == [
            f"renew_before_expiry = {round(before * 86400)} seconds",
            "version = 4.0.0",
        ]


def test_everybody_can_read_the_certificate_and_nobody_the_key(home: Path, tmp_path: Path) -> None:
    public = tmp_path / "etc/x/certificate.pem"
    for _ in range(3):
        issued = issue(tmp_path / "x", 90)
        deploy(home, tmp_path / "x")
        assert public.read_text() == issued
        assert public.stat().st_mode & 0o777 == 0o644
        assert public.parent.stat().st_mode & 0o777 == 0o755
        assert [path.name for path in public.parent.iterdir()] == ["certificate.pem"]
        served = tmp_path / "served/current"
        assert (served / "fullchain.pem").read_text() == issued
        assert (served / "privkey.pem").stat().st_mode & 0o777 == 0o640


def test_the_public_copy_is_replaced_and_not_written_over(home: Path, tmp_path: Path) -> None:
    """Who is reading the old one has all of it."""
    old = issue(tmp_path / "x", 90)
    deploy(home, tmp_path / "x")
    with (tmp_path / "etc/x/certificate.pem").open() as reader:
        issue(tmp_path / "x", 90)
        deploy(home, tmp_path / "x")
        assert reader.read() == old


def test_a_server_that_cannot_be_told_is_an_error_and_all_else_is_done(
    home: Path, tmp_path: Path
) -> None:
    """It is told first: were the hook cut off later, it would serve the old one till it ends."""
    systemctl = home / "systemctl"
    systemctl.write_text(
        f"#!/bin/sh\necho $* && cat {tmp_path}/served/current/fullchain.pem > {tmp_path}/told\n"
        f"[ ! -e {tmp_path}/etc/x/certificate.pem ] && exit 3\n"
    )
    systemctl.chmod(0o755)
    settings = home / "mcp-edge-x.conf"
    settings.write_text(settings.read_text().replace("unit=", "unit=x.service"))
    issued = issue(tmp_path / "x", 90)
    deploy(home, tmp_path / "x", status=3)
    assert (tmp_path / "told").read_text() == issued
    assert (tmp_path / "etc/x/certificate.pem").read_text() == issued
    assert "renew_before_expiry = " in (home / "renewal/x.conf").read_text()
