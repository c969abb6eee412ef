"""The units that clone and index repositories, read back by systemd, git and a shell."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible.template import trust_as_template

if TYPE_CHECKING:
    from collections.abc import Callable

    from ansible.template import Templar

    from .conftest import Render

CLONED = {"name": "mine", "url": "https://example.com/100%25.git", "ref": "v1.0"}
PRIVATE = {"name": "ours", "url": "git@example.com:us/ours.git"}
FOLDER = {"name": "theirs", "path": "/home/me/theirs"}
REPOSITORIES = [CLONED, PRIVATE | {"key": "hunter2"}, FOLDER]
GIVEN: dict[str, Any] = {"mcp_app_name": "notes", "mcp_app_repositories": REPOSITORIES}


def values(text: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)


def write_units(render: Render, folder: Path, item: dict[str, str]) -> str:
    """Write the units of one repository as they will stand on a host, and return the service."""
    unit = render("mcp_app/index.service.j2", **GIVEN)
    # Of what the host has, the program has to be there for systemd.
    program = folder / "refresh"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    unit = unit.replace("/usr/local/lib/mcp_app/refresh", str(program))
    (folder / "notes-index@.service").write_text(unit, encoding="utf-8")
    drop_in = folder / f"notes-index@{item['name']}.service.d/repository.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(render("mcp_app/repository.conf.j2", **GIVEN, item=item), encoding="utf-8")
    timer = folder / f"notes-index@{item['name']}.timer"
    timer.write_text(render("mcp_app/index.timer.j2", **GIVEN, item=item), encoding="utf-8")
    return str(folder / f"notes-index@{item['name']}.service")


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("item", [CLONED, PRIVATE, FOLDER], ids=lambda item: str(item["name"]))
def test_systemd_understands_the_units(
    render: Render, tmp_path: Path, item: dict[str, str]
) -> None:
    service = write_units(render, tmp_path, item)
    run = analyze("verify", "--man=no", service, service.replace(".service", ".timer"))
    assert (run.stderr, run.returncode) == ("", 0)


@pytest.mark.parametrize(("item", "most"), [(CLONED, 11), (PRIVATE, 11), (FOLDER, 5)])
def test_systemd_finds_the_indexer_well_confined(
    render: Render, tmp_path: Path, item: dict[str, str], most: int
) -> None:
    """What it has and the service has not is the network, which a folder of the host needs not."""
    service = write_units(render, tmp_path, item)
    run = analyze("security", "--offline=true", f"--threshold={most}", "--no-pager", service)
    assert run.returncode == 0, run.stdout


def test_the_indexer_writes_what_is_its_own_alone(render: Render) -> None:
    unit = render("mcp_app/index.service.j2", **GIVEN)
    assert values(unit, "User") == ["notes-index"]
    assert values(unit, "ProtectSystem") == ["strict"]
    assert values(unit, "ReadWritePaths") == [
        "/var/lib/notes-index/repositories /var/lib/notes-index/indexes"
    ]
    assert "StateDirectory" not in unit


def test_the_command_names_the_release_and_the_instance(render: Render) -> None:
    (start,) = values(render("mcp_app/index.service.j2", **GIVEN), "ExecStart")
    assert re.fullmatch(
        r'/usr/local/lib/mcp_app/refresh "/srv/notes/indexing/venv/bin/codeintel"'
        r' "index" "/var/lib/notes-index/repositories/%i" "--name=%i"'
        r' "--index-dir=/var/lib/notes-index/indexes"',
        start,
    )


def test_the_words_of_a_command_reach_the_program(render: Render) -> None:
    """By the rules of systemd, which expands % and $ and reads C's escapes within quotes."""
    command = ["/bin/x", 'a "b" \\ c', "100%", "$HOME ${HOME}", "ü'"]
    unit = render("mcp_app/index.service.j2", **GIVEN, mcp_app_index_command=command)
    assert values(unit, "ExecStart") == [
        '/usr/local/lib/mcp_app/refresh "/bin/x" "a \\"b\\" \\\\ c" "100%%" "$$HOME $${HOME}" "ü\'"'
    ]


def test_another_release_or_command_is_another_index(
    variables: Callable[..., Templar],
) -> None:
    def index_id(**given: object) -> str:
        return str(
            variables("mcp_app", **GIVEN, **given).template(
                trust_as_template("{{ __mcp_app_index_id }}")
            )
        )

    assert index_id() == index_id()
    others = {"mcp_app_index_command": ["x"]}, {"mcp_app_asgi": "codeintel.other:app"}
    assert len({index_id(), *(index_id(**other) for other in others)}) == 3


def test_the_indexer_notes_what_the_next_play_asks_for(
    render: Render, variables: Callable[..., Templar], repository: Path, tmp_path: Path
) -> None:
    """By the release that its link leads to, whatever the play that wrote the unit was about."""
    (setting, *_) = values(render("mcp_app/index.service.j2", **GIVEN), "Environment")
    given = dict(part.split("=", 1) for part in setting.split())
    templar = variables("mcp_app", **GIVEN)
    release = templar.template(trust_as_template("{{ __mcp_app_release_id }}"))
    (tmp_path / "releases" / release).mkdir(parents=True)
    link, record = tmp_path / "indexing", tmp_path / "record"
    link.symlink_to(f"releases/{release}")
    assert given["INDEX_RELEASE"] == "/srv/notes/indexing"
    given |= {"INDEX_RELEASE": str(link), "INDEX_RECORD": str(record), "REPOSITORY_SOURCE": "s"}
    refresh = repository / "roles/mcp_app/files/refresh"
    subprocess.run(["sh", refresh, "true"], env=os.environ | given, check=True, cwd=tmp_path)
    assert (
        record.read_text()
        == templar.template(trust_as_template("{{ __mcp_app_index_id }}")) + " s\n"
    )


def test_a_url_is_not_expanded(render: Render) -> None:
    drop_in = render("mcp_app/repository.conf.j2", **GIVEN, item=CLONED)
    assert values(drop_in, "Environment") == [
        '"REPOSITORY_SOURCE=v1.0 https://example.com/100%%25.git"',
        '"REPOSITORY_URL=https://example.com/100%%25.git" "REPOSITORY_REF=v1.0"',
    ]
    assert "LoadCredential" not in drop_in


def test_a_key_is_a_credential_and_nowhere_in_a_unit(render: Render) -> None:
    drop_in = render("mcp_app/repository.conf.j2", **GIVEN, item=PRIVATE)
    assert values(drop_in, "LoadCredential") == ["key:/etc/notes/repositories/ours"]
    assert "ssh -F /dev/null -i %d/key" in drop_in
    for template in ("index.service", "index.timer", "repository.conf", "gitconfig"):
        assert "hunter2" not in render(f"mcp_app/{template}.j2", **GIVEN, item=PRIVATE)


def test_a_folder_of_the_host_is_shown_and_nothing_is_fetched(render: Render) -> None:
    drop_in = render("mcp_app/repository.conf.j2", **GIVEN, item=FOLDER)
    assert "REPOSITORY_URL" not in drop_in
    assert values(drop_in, "BindReadOnlyPaths") == [
        "/home/me/theirs:/var/lib/notes-index/repositories/theirs"
    ]
    assert values(drop_in, "PrivateNetwork") == ["yes"]


def test_git_reads_the_configuration(render: Render, tmp_path: Path) -> None:
    path = tmp_path / "gitconfig"
    local = {"name": "local", "url": "file:///srv/local"}
    given = GIVEN | {"mcp_app_repositories": [*REPOSITORIES, local]}
    path.write_text(render("mcp_app/gitconfig.j2", **given), encoding="utf-8")
    command = ["git", "config", "--file", str(path), "--get-all", "safe.directory"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [
        "/var/lib/notes-index/repositories/theirs", "/srv/local", "/srv/local/.git"
    ]  # fmt: skip


def test_no_task_is_shown_a_key(variables: Callable[..., Templar]) -> None:
    templar = variables("mcp_app", **GIVEN)
    sources = templar.resolve_variable_expression("__mcp_app_sources")
    assert sources == [CLONED, PRIVATE, FOLDER]
