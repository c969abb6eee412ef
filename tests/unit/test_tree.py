"""An archive is named by what it contains, so nothing else may change its bytes."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from ansible_collections.codeintel.mcp_edge.plugins.module_utils.tree import pack

FILES = {"pyproject.toml": "[project]", "src/app.py": "app = 1", "src/data/a b.txt": "ä", "zz": ""}


def write(root: Path, names: Iterable[str] = FILES) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FILES.get(name, "other"), encoding="utf-8")
    return root


def packed(root: Path) -> bytes:
    archive = io.BytesIO()
    pack(root, archive)
    return archive.getvalue()


def members(root: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(packed(root))) as archive:
        return {member.name: member for member in archive if not member.isdir()}


def test_the_archive_holds_every_file_with_its_content(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(write(tmp_path)))) as archive:
        content = {}
        for member in archive:
            if (file := archive.extractfile(member)) is not None:
                content[member.name] = file.read().decode()
    assert content == FILES


def test_folders_are_for_all_whatever_the_umask_of_who_unpacks_it(tmp_path: Path) -> None:
    (tmp_path / "unpacked").mkdir()
    subprocess.run(
        ["sh", "-c", "umask 077; tar -xpC unpacked"],
        cwd=tmp_path,
        input=packed(write(tmp_path / "tree")),
        check=True,
    )
    folders = [path for path in (tmp_path / "unpacked").rglob("*") if path.is_dir()]
    assert len(folders) == 2
    assert all(folder.stat().st_mode & 0o777 == 0o755 for folder in folders)


def test_the_time_of_a_change_is_left_out(tmp_path: Path) -> None:
    before = packed(write(tmp_path))
    for path in (tmp_path / name for name in FILES):
        os.utime(path, (1, 1))
    assert packed(tmp_path) == before


def test_the_owner_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = packed(write(tmp_path))
    stat = Path.stat

    def of_another(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        fields = list(stat(path, follow_symlinks=follow_symlinks))
        return os.stat_result([*fields[:4], 4711, 4712, *fields[6:]])

    monkeypatch.setattr(Path, "stat", of_another)
    assert packed(tmp_path) == before
    assert all(member.uid == member.gid == 0 for member in members(tmp_path).values())


def test_the_order_of_a_folder_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = packed(write(tmp_path, [*FILES, "tests/test_app.py"]))
    walk = os.walk

    def backwards(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        for folder, folders, files in walk(root):
            folders.sort(reverse=True)
            files.sort(reverse=True)
            yield folder, folders, files

    monkeypatch.setattr(os, "walk", backwards)
    assert packed(tmp_path) == before


@pytest.mark.parametrize("umask", [0o000, 0o027, 0o077])
def test_the_umask_is_left_out(tmp_path: Path, umask: int) -> None:
    usual = write(tmp_path / "usual")
    before = os.umask(umask)
    try:
        other = write(tmp_path / "other")
    finally:
        os.umask(before)
    assert packed(other) == packed(usual)


@pytest.mark.parametrize(
    "name",
    [
        ".git/config",
        ".env",
        "src/.hidden",
        "src/__pycache__/app.cpython-311.pyc",
        "src/app.pyc",
        "app.egg-info/PKG-INFO",
        "build/lib/app.py",
        "dist/app-1.whl",
        "venv/bin/python",
        "node_modules/left-pad/index.js",
    ],
)
def test_what_tools_leave_behind_is_left_out(tmp_path: Path, name: str) -> None:
    before = packed(write(tmp_path))
    assert packed(write(tmp_path, [name])) == before


def test_symbolic_links_are_left_out(tmp_path: Path) -> None:
    before = packed(write(tmp_path))
    (tmp_path / "passwd").symlink_to("/etc/passwd")
    (tmp_path / "elsewhere").symlink_to(tmp_path / "src")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert packed(tmp_path) == before


def test_the_executable_bit_is_kept_and_counts(tmp_path: Path) -> None:
    before = packed(write(tmp_path))
    (tmp_path / "zz").chmod(0o700)
    assert packed(tmp_path) != before
    modes = {name: member.mode for name, member in members(tmp_path).items()}
    assert modes == dict.fromkeys(FILES, 0o644) | {"zz": 0o755}


@pytest.mark.parametrize("change", ["content", "name", "addition", "removal"])
def test_a_change_of_the_project_is_another_archive(tmp_path: Path, change: str) -> None:
    before = packed(write(tmp_path))
    source = tmp_path / "src/app.py"
    match change:
        case "content":
            source.write_text("app = 2", encoding="utf-8")
        case "name":
            source.rename(tmp_path / "src/asgi.py")
        case "addition":
            write(tmp_path, ["src/more.py"])
        case "removal":
            source.unlink()
    assert packed(tmp_path) != before
