"""Every kind of source becomes a release; one that cannot be imported never becomes current."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from lab import ADDRESSES, ROOT, SCENARIO, connect, play
from testinfra.host import Host

RELEASE = str(SCENARIO / "release.yml")
ECHO = SCENARIO.parent / "shared/echo"


def deploy(**variables: str) -> subprocess.CompletedProcess[str]:
    return play(RELEASE, "-e", json.dumps(variables))


def current(target: Host) -> str:
    return str(target.run("readlink -f /srv/parcel/current").stdout.strip())


def imported(target: Host, module: str) -> str:
    """Return the file from which the current release imports a module."""
    show = f"import os, {module}; print(os.path.realpath({module}.__file__))"
    return str(target.run("/srv/parcel/current/venv/bin/python -c %s", show).stdout.strip())


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True)


def test_wheel_pypi_git_and_path(target: Host, tmp_path: Path) -> None:
    """Four releases in turn, of which the last three stay."""
    seen: list[str] = []

    run("uv", "build", "--quiet", "--wheel", "--out-dir", tmp_path, ECHO)
    wheel = next(tmp_path.glob("*.whl"))
    assert deploy(mcp_app_source="wheel", mcp_app_location=str(wheel)).returncode == 0
    seen.append(current(target))
    assert imported(target, "echo").startswith(seen[-1])

    package = {"mcp_app_source": "pypi", "mcp_app_location": "h11==0.16.0"}
    assert deploy(**package, mcp_app_asgi="h11:Connection").returncode == 0
    seen.append(current(target))
    assert imported(target, "h11").startswith(seen[-1])

    repository = tmp_path / "echo.git"
    run("cp", "-r", ECHO, repository)
    run("git", "init", "--quiet", "--initial-branch=main", cwd=repository)
    run("git", "add", ".", cwd=repository)
    author = ("-c", "user.name=tests", "-c", "user.email=tests@mcp.test")
    run("git", *author, "commit", "--quiet", "--message=echo", cwd=repository)
    key = f"ssh -i {ROOT}/.cache/lab/id_ed25519 -o StrictHostKeyChecking=no"
    copied = f"tar -C {tmp_path} -c echo.git | {key} root@{ADDRESSES['target']} tar -C /srv -x"
    run("sh", "-c", f"{copied} --no-same-owner")
    source = {"mcp_app_source": "git", "mcp_app_location": "file:///srv/echo.git"}
    assert deploy(**source, mcp_app_git_ref="main").returncode == 0
    seen.append(current(target))
    assert imported(target, "echo").startswith(seen[-1])

    assert deploy(mcp_app_location=str(ECHO)).returncode == 0
    seen.append(current(target))
    releases = target.run("ls /srv/parcel/releases").stdout.split()
    assert sorted(releases) == sorted(Path(path).name for path in seen[1:])

    again = deploy(mcp_app_location=str(ECHO))
    assert "changed=0" in again.stdout


def test_a_release_that_cannot_be_imported_is_not_switched_to(target: Host) -> None:
    before = current(target)
    failed = deploy(mcp_app_location=str(ECHO), mcp_app_asgi="echo:no_such_object")
    assert failed.returncode != 0
    assert "no_such_object" in failed.stdout
    assert current(target) == before


def test_a_lock_without_the_right_hash_is_refused(tmp_path: Path) -> None:
    before = current(connect("target"))
    lock = tmp_path / "requirements.lock"
    lock.write_text("h11==0.16.0 --hash=sha256:" + "0" * 64 + "\n")
    failed = deploy(mcp_app_location=str(ECHO), mcp_app_lock=str(lock))
    assert failed.returncode != 0
    assert "hash" in failed.stdout.lower()
    assert current(connect("target")) == before
