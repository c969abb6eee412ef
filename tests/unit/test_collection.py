"""What a user gets who installs the collection, and what stays in the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def names(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Build the collection and return the paths in its archive."""
    folder = tmp_path_factory.mktemp("collection")
    galaxy = Path(sys.executable).with_name("ansible-galaxy")
    subprocess.run(
        [galaxy, "collection", "build", "--output-path", folder, repository],
        cwd=folder,
        env={**os.environ, "ANSIBLE_LOCAL_TEMP": str(folder / "tmp")},
        capture_output=True,
        check=True,
    )
    (archive,) = folder.glob("codeintel-mcp_edge-*.tar.gz")
    with tarfile.open(archive) as content:
        return set(content.getnames())


def files(repository: Path, pattern: str) -> set[str]:
    found = {path.relative_to(repository).as_posix() for path in repository.glob(pattern)}
    assert found, pattern
    return {name for name in found if "__pycache__" not in name and ".egg-info" not in name}


def test_the_collection_tells_what_it_is(names: set[str]) -> None:
    assert {"README.md", "LICENSE", "docs/ARCHITECTURE.md", "meta/runtime.yml"} <= names


def test_every_role_comes_whole_and_with_its_readme(names: set[str], role: Path) -> None:
    repository = role.parents[1]
    assert {f"roles/{role.name}/README.md", f"roles/{role.name}/meta/argument_specs.yml"} <= names
    of_the_checkout = ("/tests/", "_cache/", "__pycache__/")
    whole = {
        name
        for name in files(repository, f"roles/{role.name}/**/*")
        if not any(part in f"{name}/" for part in of_the_checkout)
    }
    assert whole <= names


@pytest.mark.parametrize(
    "pattern",
    [
        "playbooks/*.yml",
        "playbooks/vars/*.yml",
        "inventories/**/*.yml",
        "plugins/**/*.py",
        "plugins/modules/*.yml",
        "docs/*.md",
        "requirements/endpoint_info.*",
        "app/pyproject.toml",
        "app/README.md",
        "app/requirements.lock",
        "app/src/**/*.py",
        "app/src/codeintel/py.typed",
    ],
)
def test_what_the_playbooks_need_comes_along(
    repository: Path, names: set[str], pattern: str
) -> None:
    assert files(repository, pattern) <= names


@pytest.mark.parametrize(
    "prefix",
    [
        "molecule", "tests", "bin", ".cache", ".venv", ".git", ".ci", ".config", "ansible.cfg",
        "app/tests", "app/dist", "app/build", "requirements/dev.",
        "roles/hypercorn_service/files/hypercorn_edge/tests",
    ],
)  # fmt: skip
def test_what_only_the_checkout_needs_stays_there(names: set[str], prefix: str) -> None:
    assert [name for name in names if name.startswith(prefix)] == []


def test_nothing_that_tools_leave_behind_comes_along(names: set[str]) -> None:
    left = ("__pycache__", ".pyc", ".egg-info", "_cache/", ".log")
    assert [name for name in names if any(part in name for part in left)] == []
