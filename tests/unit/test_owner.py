"""The owner's password: made or given, kept as a hash, shown once, and nowhere else.

The tasks run for real, in a folder, with a command in the place of the release's ``codeintel``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

GIVEN = "correct horse battery"
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.file:
        path: "{{ __mcp_app_etc }}/credentials"
        state: directory
        mode: "0700"
    - ansible.builtin.import_role:
        name: codeintel.mcp_edge.mcp_app
        tasks_from: owner
    - ansible.builtin.fail:
        msg: a later role has failed
      when: later_fails | default(false)
    - ansible.builtin.import_role:
        name: codeintel.mcp_edge.mcp_app
        tasks_from: finish
"""
# Hashes by turning around, which is enough to tell.
CODEINTEL = """#!{python}
import sys
from pathlib import Path
log = Path("{log}")
log.write_text(log.read_text() + " ".join(sys.argv[1:]) + chr(10))
password = sys.stdin.readline().rstrip(chr(10))
if "--check" in sys.argv:
    sys.exit(Path(sys.argv[-1]).read_text().rstrip(chr(10)) != "hash:" + password[::-1])
if "refused" in password:
    sys.exit("codeintel: this one is refused")
print("hash:" + password[::-1])
"""


@dataclass(frozen=True)
class Host:
    """A folder in the place of a host."""

    folder: Path

    def play(self, *options: str, **given: object) -> str:
        """Run the tasks with all that Ansible tells, and return that."""
        variables = {
            "__mcp_app_etc": str(self.folder / "etc"),
            "__mcp_app_home": str(self.folder),
            "__mcp_app_release": str(self.folder / "releases/one"),
            "ansible_python_interpreter": sys.executable,
            "mcp_app_name": "of-a-test",
            "mcp_edge_domain": "mcp.test",
            **given,
        }
        run = subprocess.run(
            [
                *(Path(sys.executable).with_name("ansible-playbook"), "--inventory=localhost,"),
                *("--diff", "-vvv", f"--extra-vars={json.dumps(variables)}", *options),
                str(self.folder / "play.yml"),
            ],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return run.stdout

    @property
    def hash(self) -> str:
        """What is kept of the password."""
        return (self.folder / "etc/credentials/codeintel_owner_password").read_text().strip()

    @property
    def files(self) -> str:
        """All that is on the host, and all that programs were called with."""
        paths = [
            path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink()
        ]
        return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in paths)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    (tmp_path / "play.yml").write_text(PLAY, encoding="utf-8")
    programs = tmp_path / "releases/one/venv/bin"
    programs.mkdir(parents=True)
    (tmp_path / "current").symlink_to("releases/one")
    (programs / "python").symlink_to(sys.executable)
    log = tmp_path / "log"
    log.touch()
    (programs / "codeintel").write_text(CODEINTEL.format(python=sys.executable, log=log))
    (programs / "codeintel").chmod(0o755)
    return Host(tmp_path)


def shown(output: str) -> list[str]:
    return re.findall(r"The password of the owner of https://mcp\.test is ([a-z2-9-]+)", output)


def test_one_is_made_once_and_shown_once(host: Host) -> None:
    first = host.play()
    (password,) = shown(first)
    assert re.fullmatch(r"([a-z2-9]{5}-){3}[a-z2-9]{5}", password)
    assert host.hash == f"hash:{password[::-1]}"
    assert first.count(password) == 1  # not in a result, a difference or a command
    assert password not in host.files
    assert "failed=0" in first
    kept = host.hash
    again = host.play()
    assert shown(again) == []
    assert "changed=0" in again
    assert host.hash == kept
    assert {path.name for path in (host.folder / "etc").rglob("*")} == {
        "credentials", "codeintel_owner_password"
    }  # fmt: skip


def test_one_that_a_failed_run_has_made_is_not_lost(host: Host) -> None:
    """Nobody has seen it: the next run makes another."""
    assert shown(host.play(later_fails=True)) == []
    unseen = host.hash
    (password,) = shown(host.play())
    assert host.hash == f"hash:{password[::-1]}"
    assert host.hash != unseen
    assert "changed=0" in host.play()


def test_check_mode_says_that_one_would_be_made_and_makes_none(host: Host) -> None:
    (host.folder / "etc/credentials").mkdir(parents=True)
    output = host.play("--check")
    assert "changed=0" not in output
    assert "failed=0" in output
    assert shown(output) == []
    assert list((host.folder / "etc").rglob("*")) == [host.folder / "etc/credentials"]


def test_a_given_one_is_kept_as_a_hash_and_shown_nowhere(host: Host) -> None:
    first = host.play(mcp_app_owner_password=GIVEN)
    kept = host.hash
    assert kept == f"hash:{GIVEN[::-1]}"
    # -vvv shows what the command line of this test says.
    assert first.count(GIVEN) == first.count(f'"mcp_app_owner_password": "{GIVEN}"')
    assert GIVEN not in host.files
    assert "changed=0" in host.play(mcp_app_owner_password=GIVEN)
    assert "changed=0" in host.play("--check", mcp_app_owner_password=GIVEN)
    assert "changed=0" in host.play()  # it stays, without being given again
    other = host.play(mcp_app_owner_password=GIVEN + "!")
    assert "RUNNING HANDLER [codeintel.mcp_edge.mcp_app : Restart the app]" in other
    assert host.hash == f"hash:!{GIVEN[::-1]}"


@pytest.mark.parametrize("odd", ["$HOME `id` $(id)", r"back\slash \n \t \\", ' it\'s "quoted"  '])
def test_the_shell_takes_none_of_it_for_its_own(host: Host, odd: str) -> None:
    host.play(mcp_app_owner_password=odd)
    file = host.folder / "etc/credentials/codeintel_owner_password"
    assert file.read_text() == f"hash:{odd[::-1]}\n"
    assert "changed=0" in host.play(mcp_app_owner_password=odd)


def test_what_the_app_refuses_stops_the_play_and_changes_nothing(host: Host) -> None:
    host.play(mcp_app_owner_password=GIVEN)
    kept = host.hash
    output = host.play(mcp_app_owner_password="this is refused")
    assert "failed=1" in output
    assert "codeintel: this one is refused" in output
    assert host.hash == kept


def test_only_root_reads_the_hash(host: Host) -> None:
    host.play()
    file = host.folder / "etc/credentials/codeintel_owner_password"
    assert file.stat().st_mode & 0o777 == 0o600
