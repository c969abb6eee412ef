"""What replaces one instance by the other, cut off at every point, on a systemd that is made up.

molecule/change has the real one; only here can each point be tried.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SOURCE = Path(__file__).parents[2] / "roles/hypercorn_service/files/instances.py"


ALWAYS = 10_000  # calls until the power fails


class CutError(Exception):
    """The power fails, or whoever runs this is killed."""


class Host:
    """A host with the service `notes`: its files in a folder, its units in memory."""

    def __init__(self, folder: Path, module: ModuleType) -> None:
        self.module = module
        self.etc, self.state, self.units = (folder / name for name in ("etc", "state", "units"))
        for path in (self.etc / "notes", self.state / "notes", self.units):
            path.mkdir(parents=True)
        self.running: dict[str, str] = {}  # by unit, the version that it was started from
        self.broken: set[str] = set()  # versions that do not start
        self.left = ALWAYS
        self.configure("A")

    def configure(self, version: str, *, sockets: str = "unix") -> None:
        """Configure a version of all that an instance reads."""
        (self.etc / "notes/environment").write_text(version)
        (self.units / "notes@.service").write_text(f"unit of {version}")
        (self.units / "notes.socket").write_text(sockets)
        release = self.etc / f"release-{version}"
        release.mkdir(exist_ok=True)
        venv = self.etc / "venv"
        venv.unlink(missing_ok=True)
        venv.symlink_to(release)
        options: dict[str, Any] = {
            "venv": str(venv),
            "files": [["environment", str(self.etc / "notes/environment")]],
        }
        options |= {"health_path": "", "check": [], "start_timeout": 0, "stop_timeout": 0}
        lines = [f"{key} = {json.dumps(value)}" for key, value in options.items()]
        (self.etc / "notes/instances.toml").write_text("\n".join(lines))

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise CutError

    def systemctl(self, *arguments: str) -> int:
        self.step()
        verb, *units = [part for part in arguments if not part.startswith("--")]
        for unit in units:
            if verb == "stop":
                self.running.pop(unit, None)
            elif verb == "start" and unit == "notes.service":
                self.running[unit] = ""
                self.module.main("start", "notes")
            elif verb == "start" and "@" in unit and unit not in self.running:
                found = self.version_of(unit)
                if found is None or found in self.broken:
                    return 1
                self.running[unit] = found
            elif verb == "start":
                self.running.setdefault(unit, "")
        return 0

    def version_of(self, unit: str) -> str | None:
        """Return the version that a unit would start from; None if not all of it is there."""
        folder = self.state / "notes" / unit[len("notes@")]
        try:
            version = (folder / "environment").read_text()
            assert (self.units / unit).read_text() == f"unit of {version}"
            assert (folder / "venv").readlink().name == f"release-{version}"
        except OSError:
            return None
        return version

    def ask(self, unit: str, what: str) -> str:
        if what == "ActiveState":
            return "active" if unit in self.running else "inactive"
        first = next((name for name in self.running if "@" in name), None)
        return "Serving" if unit == first else "Waiting"

    def serving(self) -> str | None:
        """Return the version that serves."""
        return next((version for name, version in self.running.items() if "@" in name), None)

    def converge(self) -> int:
        status: int = self.module.main("converge", "notes")
        return status

    def boot(self) -> None:
        """Start again without what was in memory."""
        self.running.clear()
        self.left = ALWAYS
        self.systemctl("start", "notes.socket", "notes.service")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host on which version A serves."""
    spec = importlib.util.spec_from_file_location("instances", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = Host(tmp_path, module)
    monkeypatch.setenv("LC_ALL", "C")  # which main sets, for it to be put back
    monkeypatch.setattr(module, "ETC", found.etc)
    monkeypatch.setattr(module, "STATE", found.state)
    monkeypatch.setattr(module, "UNITS", found.units)
    monkeypatch.setattr(module, "MARGIN", 0)
    monkeypatch.setattr(module, "systemctl", found.systemctl)
    monkeypatch.setattr(module, "ask", found.ask)
    monkeypatch.setattr(module, "journal", lambda *_: "its last lines")

    def cut(function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: object, **options: object) -> Any:  # noqa: ANN401
            found.step()
            return function(*arguments, **options)

        return step

    for owner, name in ((module, "write"), (module.shutil, "rmtree"), (Path, "rename")):
        monkeypatch.setattr(owner, name, cut(getattr(owner, name)))
    assert found.converge() == 0
    assert found.serving() == "A"
    return found


def test_what_is_as_configured_stays(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    before = dict(host.running)
    capsys.readouterr()
    assert host.converge() == 0
    assert host.running == before
    assert capsys.readouterr() == ("", "")


def test_the_service_may_read_it_whatever_the_umask(host: Host) -> None:
    before = os.umask(0o077)
    try:
        host.configure("B")
        assert host.converge() == 0
    finally:
        os.umask(before)
    assert (host.state / "notes/2").stat().st_mode & 0o777 == 0o755


def is_locked(folder: Path) -> bool:
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(opened)
    return False


def test_it_is_kept_off_until_it_is_proven(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    copy, seen = host.state / "notes/2", []
    monkeypatch.setattr(host.module.Service, "prove", lambda *_: seen.append(is_locked(copy)))
    host.configure("B")
    assert host.converge() == 0
    assert seen == [True]
    assert not is_locked(copy)


def test_what_is_configured_takes_over(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.configure("B")
    assert host.converge() == 0
    assert host.running == {"notes.socket": "", "notes.service": "", "notes@2.service": "B"}
    assert capsys.readouterr().out.endswith("notes@2.service has taken over from notes@1.service\n")
    host.boot()
    assert host.serving() == "B"
    kept = [place for place in ("1", "2") if (host.state / "notes" / place).exists()]
    assert kept == ["1", "2"]
    assert host.converge() == 0
    assert not (host.state / "notes/1").exists(), "what was configured once is still there"


@pytest.mark.parametrize("sockets", ["unix", "unix and 443"])
def test_what_does_not_start_leaves_what_was_proven(
    host: Host, sockets: str, capsys: pytest.CaptureFixture[str]
) -> None:
    host.broken = {"B"}
    host.configure("B", sockets=sockets)
    for _ in range(2):
        assert host.converge() == 1
        assert "its last lines" in capsys.readouterr().err
        assert host.serving() == "A"
        host.boot()
        assert host.serving() == "A"
    host.configure("C", sockets=sockets)
    assert host.converge() == 0
    assert host.serving() == "C"


@pytest.mark.parametrize("power", [True, False], ids=["power", "killed"])
@pytest.mark.parametrize("sockets", ["unix", "unix and 443"])
@pytest.mark.parametrize("broken", [set(), {"B"}], ids=["good", "broken"])
def test_cut_off_at_every_point(host: Host, sockets: str, broken: set[str], power: bool) -> None:
    host.broken = broken
    at = 0
    over = False
    while not over:
        host.configure("A")
        assert host.converge() == 0
        host.configure("B", sockets=sockets)
        host.left = at
        try:
            host.converge()
            over = True
        except CutError:
            at += 1
        host.left = ALWAYS
        if power:
            host.boot()
        if power or sockets == "unix":  # others cannot be opened while what has these runs
            assert host.serving() in {"A", "B"} - broken, at
        assert host.converge() == len(broken)
        assert host.serving() == ("A" if broken else "B"), at
        host.boot()
        assert host.serving() == ("A" if broken else "B"), at
    assert at > 10
