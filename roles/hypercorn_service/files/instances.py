#!/usr/bin/python3 -I
# Managed by Ansible: codeintel.mcp_edge.hypercorn_service
"""Run a service as one of two instances, and replace that by the other one without a gap.

    instances start NAME      run the instance that was proven last
    instances converge NAME   see that what runs is what is configured
    instances stop NAME       stop both
    instances end-streams     have the services of this host end their event streams

The instances are the units NAME@1 and NAME@2. To converge, the one that does not run is started
beside the other, has to answer for its health and to pass a check on a socket of its own, and only
then the other one is told to end: it passes on its sockets, and answers what it has been asked. If
the new one fails, it is stopped, and the old one has not noticed. Until then the copy that it runs
from is locked, which keeps it from the sockets even if the other one should die meanwhile.

Each runs from a copy of all that was configured: its unit, the files that it reads, and the virtual
environment as a link. A crash or a reboot brings back what was proven, whatever is configured by
then.

/etc/NAME/instances.toml has the virtual environment, the files by their place in the copy, the path
of the health or "", the check, in which {venv} and {socket} are replaced, and timeouts in seconds.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

ETC = Path("/etc")
STATE = Path("/var/lib/hypercorn_service")
UNITS = Path("/etc/systemd/system")
OTHER = {"1": "2", "2": "1"}
VERBS = {"start", "converge", "stop"}
POLL = 0.05  # seconds
MOST = 5  # seconds between two questions for the health
MARGIN = 10  # seconds, for systemd to end what does not end by itself
VENV, UNIT = "venv", "unit"  # in a copy, beside the files
SERVING = "Serving"  # what an instance that has taken over says of itself


class FailedError(Exception):
    """What went wrong, in words for who runs this."""


class Service:
    """A service, by its name, and what is noted about it."""

    def __init__(self, name: str) -> None:
        """Read how its instances are proven."""
        options: dict[str, Any] = tomllib.loads((ETC / name / "instances.toml").read_text())
        self.name = name
        self.venv = Path(options["venv"])
        self.files = {place: Path(path) for place, path in options["files"]}
        self.health_path: str = options["health_path"]
        self.check: list[str] = options["check"]
        self.start_timeout: int = options["start_timeout"]
        self.stop_timeout: int = options["stop_timeout"]
        self.state = STATE / name

    def unit(self, instance: str) -> str:
        """Return the unit of an instance."""
        return f"{self.name}@{instance}.service"

    def note(self, what: str, value: str) -> None:
        """Keep a word for later: as a link, which is there or not and never half."""
        scratch = self.state / f".{what}"
        scratch.unlink(missing_ok=True)
        scratch.symlink_to(value)
        scratch.rename(self.state / what)

    def noted(self, what: str) -> str:
        """Return the word that was kept, or an empty one."""
        with suppress(OSError):
            return str((self.state / what).readlink())
        return ""

    def last(self) -> str:
        """Return the instance that was proven last; before any was, the first is the next one."""
        noted = self.noted("last")
        return noted if noted in OTHER else "2"

    def configured(self) -> dict[str, bytes]:
        """Return what an instance is to run from, by its place in the copy."""
        files = {**self.files, UNIT: UNITS / f"{self.name}@.service"}
        found = {place: file.read_bytes() for place, file in files.items() if file.exists()}
        return {**found, VENV: os.fsencode(self.venv.resolve())}

    def copied(self, instance: str) -> dict[str, bytes]:
        """Return what an instance runs from, as `configured` does."""
        folder, unit = self.state / instance, UNITS / self.unit(instance)
        if not folder.is_dir() or not unit.exists():
            return {}
        files = {str(file.relative_to(folder)): file for file in folder.rglob("*")} | {UNIT: unit}
        found = {place: file.read_bytes() for place, file in files.items() if file.is_file()}
        return {**found, VENV: os.fsencode((folder / VENV).readlink())}

    def copy(self, instance: str, content: dict[str, bytes]) -> None:
        """Have an instance, which does not run, run from `content`."""
        folder, scratch = self.state / instance, self.state / f".{instance}"
        for path in (scratch, folder):
            shutil.rmtree(path, ignore_errors=True)
        scratch.mkdir()
        scratch.chmod(0o755)  # whatever the umask of who runs this
        for place, text in content.items():
            file = UNITS / self.unit(instance) if place == UNIT else scratch / place
            if place == VENV:
                file.symlink_to(os.fsdecode(text))
            else:
                file.parent.mkdir(mode=0o700, exist_ok=True)
                write(file, text, 0o644 if place == UNIT else self.files[place].stat().st_mode)
        scratch.rename(folder)
        systemctl("daemon-reload")

    def sockets(self) -> str:
        """Return a digest of what systemd is to listen on."""
        return hashlib.sha256((UNITS / f"{self.name}.socket").read_bytes()).hexdigest()

    def serving(self) -> str | None:
        """Return the instance that serves; of two, one may be waiting for its turn."""
        running = [
            instance
            for instance in OTHER
            if ask(self.unit(instance), "ActiveState") in {"active", "activating", "reloading"}
        ]
        return min(running, key=lambda instance: not self.serves(instance), default=None)

    def serves(self, instance: str) -> bool:
        """Say whether an instance has the sockets."""
        unit = self.unit(instance)
        return ask(unit, "ActiveState") == "active" and ask(unit, "StatusText") == SERVING

    @contextmanager
    def kept_off(self, instance: str) -> Iterator[None]:
        """Keep an instance from the sockets."""
        folder = os.open(self.state / instance, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def start(self, instance: str) -> None:
        """Start an instance; raises FailedError if it does not get ready."""
        if systemctl("start", self.unit(instance)) != 0:
            raise FailedError(f"{self.unit(instance)} did not start.")

    def stop(self) -> None:
        """Stop both."""
        systemctl("stop", *map(self.unit, OTHER))

    def converge(self) -> str:
        """Return what was done, in words: none if all is as configured."""
        systemctl("daemon-reload")  # whoever wrote a unit may have been cut off before that
        configured, sockets = self.configured(), self.sockets()
        if self.noted("sockets") != sockets:
            self.open_sockets()
        old = self.serving()
        if old and self.copied(old) == configured:
            self.wait_until_serving(old)  # it may have begun a moment ago
            if ask(self.unit(OTHER[old]), "ActiveState") in {"inactive", "failed"}:
                shutil.rmtree(self.state / OTHER[old], ignore_errors=True)  # secrets of once
            return ""
        # What was proven last stays what a crash brings back until the other one is proven.
        new = OTHER[old or self.last()]
        done = f"{self.unit(new)} has " + (f"taken over from {self.unit(old)}" if old else "begun")
        systemctl("stop", self.unit(new))  # it may still be about to end
        begin = time.time()
        with ExitStack() as unproven:
            try:
                self.copy(new, configured)
                unproven.enter_context(self.kept_off(new))
                self.start(new)
                self.prove(new)
                self.note("last", new)
            except (FailedError, OSError) as error:
                said = journal(self.unit(new), begin)
                systemctl("stop", self.unit(new))
                kept = f" {self.unit(old)} goes on as before." if old else ""
                raise FailedError(f"{error}{kept} The journal ends with:\n\n{said}") from error
        self.note("sockets", sockets)
        # A connection to the sockets may have started it meanwhile.
        systemctl("stop", "--no-block", self.unit(OTHER[new]))
        self.wait_until_serving(new)
        return done

    def umbrella(self) -> str:
        """Return the state of the unit that stands for both."""
        return ask(f"{self.name}.service", "ActiveState")

    def follow(self) -> None:
        """Have the unit that stands for both run, and what was proven with it, if it does not."""
        if self.noted("last") and self.umbrella() not in {"active", "reloading"}:
            systemctl("start", f"{self.name}.service")

    def open_sockets(self) -> None:
        """Have systemd listen on what is configured, while no instance runs."""
        if self.umbrella() == "reloading":
            raise FailedError("Its sockets are to be others, which takes a run of its playbook.")
        # Of a socket that is to stop, too, no client can start the service again meanwhile.
        units = [f"{self.name}.socket", f"{self.name}.service", *map(self.unit, OTHER)]
        systemctl("stop", *units)
        if systemctl("start", f"{self.name}.socket") != 0:
            raise FailedError(f"{self.name}.socket cannot be opened.")

    def prove(self, instance: str) -> None:
        """See that an instance answers before it serves; raises FailedError if it does not."""
        path = f"/run/{self.name}/instances/{instance}.sock"
        end = time.monotonic() + self.start_timeout
        pause = POLL
        while self.health_path and (fault := fault_of(path, self.health_path)):
            if time.monotonic() > end:
                raise FailedError(f"{self.unit(instance)}: {self.health_path}: {fault}.")
            time.sleep(pause)
            pause = min(2 * pause, MOST)  # the app notes each request, and has more to say
        names = {"{venv}": str((self.state / instance / VENV).readlink()), "{socket}": path}
        command = []
        for part in self.check:
            for name, value in names.items():
                part = part.replace(name, value)  # noqa: PLW2901
            command.append(part)
        if not command:
            return
        limit = ["timeout", str(self.start_timeout), "runuser", "-u", self.name, "--"]
        checked = subprocess.run(  # noqa: S603
            [*limit, *command],
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if checked.returncode != 0:
            raise FailedError(f"{self.unit(instance)} fails its check: {checked.stdout.strip()}.")

    def wait_until_serving(self, instance: str) -> None:
        """Wait until it is up, and the one before it has passed on its sockets."""
        end = time.monotonic() + max(self.start_timeout, self.stop_timeout) + MARGIN
        while not self.serves(instance):
            if time.monotonic() > end:
                said = journal(self.unit(instance))
                raise FailedError(
                    f"{self.unit(instance)} does not get to serve. The journal ends with:\n\n{said}"
                )
            time.sleep(POLL)


def write(file: Path, content: bytes, mode: int) -> None:
    """Replace a file, so that it has this content or what it had, even if the power fails."""
    scratch = file.with_name(f".{file.name}")
    with scratch.open("wb") as opened:
        os.fchmod(opened.fileno(), stat.S_IMODE(mode))
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    scratch.rename(file)


def fault_of(path: str, target: str) -> str:
    """Return in words what is wrong with the answer on a unix socket, or nothing."""
    connection = http.client.HTTPConnection("localhost", timeout=2)
    try:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(2)
        connection.sock.connect(path)
        connection.request("GET", target)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    finally:
        connection.close()
    return f"status {status}" if status >= http.client.BAD_REQUEST else ""


def systemctl(*arguments: str) -> int:
    """Return the exit status."""
    return subprocess.run(["systemctl", *arguments], check=False).returncode  # noqa: S603, S607


def ask(unit: str, what: str) -> str:
    """Return a property of a unit."""
    return output("systemctl", "show", f"--property={what}", "--value", unit)


def journal(unit: str, since: float = 0) -> str:
    """Return the last lines of a unit, from a time in seconds on."""
    output("journalctl", "--sync")
    command = ["journalctl", "--lines=30", "--no-pager", "--output=cat", f"--unit={unit}"]
    return output(*command, f"--since=@{since:.6f}")


def output(*command: str) -> str:
    """Return what a command prints."""
    run = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    return run.stdout.strip()


def end_streams() -> None:
    """Tell all instances of all services."""
    for state in sorted(STATE.glob("*/")):
        for instance in OTHER:
            unit = f"{state.name}@{instance}.service"
            if ask(unit, "ActiveState") == "active":
                systemctl("kill", "--kill-whom=main", "--signal=USR1", unit)


def main(verb: str, name: str) -> int:
    """Do it; return the exit status."""
    os.environ["LC_ALL"] = "C"
    service = Service(name)
    if verb == "stop":
        service.stop()
        return 0
    try:
        with (service.state / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if verb == "start":
                service.start(service.last())
            elif done := service.converge():
                print(f"{name}: {done}")
    except (FailedError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    finally:
        if verb == "converge":
            service.follow()
    return 0


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["end-streams"]:
            end_streams()
        case [verb, name] if verb in VERBS:
            sys.exit(main(verb, name))
        case _:
            sys.exit(__doc__)
