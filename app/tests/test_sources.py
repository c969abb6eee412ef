import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from codeintel.errors import CodeintelError
from codeintel.sources import MAX_FILE_BYTES, SkipFileError, open_tree, read_files

WriteTree = Callable[..., Path]


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    return subprocess.run(
        ["git", *identity, "-C", str(root), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def outcome(root: Path) -> dict[str, str]:
    return {
        path: str(content) if isinstance(content, SkipFileError) else "read"
        for path, content in read_files(open_tree(root))
    }


def test_git_decides_what_is_ignored(write_tree: WriteTree) -> None:
    root = write_tree({"a.py": "", "b.py": "", ".gitignore": "*.log\n", "x.log": "", "sub/c": ""})
    git(root, "init", "-q")
    git(root, "add", "a.py", "sub")
    git(root, "commit", "-qm", "one")
    tree = open_tree(root)
    assert tree.paths == (".gitignore", "a.py", "b.py", "sub/c")
    assert tree.commit == git(root, "rev-parse", "HEAD")
    assert open_tree(root / "sub").paths == ("c",)


def test_a_repository_without_a_commit(write_tree: WriteTree) -> None:
    root = write_tree({"a.py": ""})
    git(root, "init", "-q")
    assert open_tree(root).commit is None


def test_a_plain_directory_is_walked(write_tree: WriteTree) -> None:
    root = write_tree({"a.py": "", "sub/deep/b.py": "", ".hg/store": "", "sub/.svn/entries": ""})
    tree = open_tree(root)
    assert tree.paths == ("a.py", "sub/deep/b.py")
    assert tree.commit is None


def test_links_are_never_followed(write_tree: WriteTree, tmp_path: Path) -> None:
    root = write_tree({"real/a.py": "1", "b.py": "2"})
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.py").write_text("secret")
    (root / "leak.py").symlink_to(outside / "a.py")
    git(root, "init", "-q")
    git(root, "add", "-A")
    # A tracked directory that was swapped for a link: git still lists the file in it.
    shutil.rmtree(root / "real")
    (root / "real").symlink_to(outside)
    assert outcome(root) == {
        "b.py": "read",
        "leak.py": "symlink",
        "real": "symlink",
        "real/a.py": "symlink",
    }


def test_every_reason_to_skip(write_tree: WriteTree) -> None:
    root = write_tree(
        {
            "ok.py": "é\n",
            "largest.txt": "x" * MAX_FILE_BYTES,
            "large.txt": "x" * (MAX_FILE_BYTES + 1),
            "binary": b"a\0b",
            "latin1.txt": b"caf\xe9",
            ".env": "A=1",
            "token.txt": "ghp_" + "a1B2" * 9,
            "gone.py": "",
        }
    )
    (root / os.fsdecode(b"n\xff.py")).write_text("")
    os.mkfifo(root / "pipe")
    tree = open_tree(root)
    (root / "gone.py").unlink()
    seen = {
        os.fsencode(path): str(content) if isinstance(content, SkipFileError) else "read"
        for path, content in read_files(tree)
    }
    assert seen == {
        b"ok.py": "read",
        b"largest.txt": "read",
        b"large.txt": "too_large",
        b"binary": "binary",
        b"latin1.txt": "not_utf8",
        b"n\xff.py": "not_utf8",
        b".env": "secret",
        b"token.txt": "secret",
        b"gone.py": "missing",
        b"pipe": "not_a_file",
    }


def test_nested_repositories_are_not_entered(write_tree: WriteTree) -> None:
    root = write_tree({"a.py": "", "nested/b.py": ""})
    git(root / "nested", "init", "-q")
    git(root, "init", "-q")
    assert outcome(root) == {"a.py": "read", "nested/": "not_a_file"}


def test_commands_of_the_repository_do_not_run(write_tree: WriteTree, tmp_path: Path) -> None:
    root = write_tree({"a.py": ""})
    ran = tmp_path / "ran"
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {ran}\n")
    hook.chmod(0o755)
    git(root, "init", "-q")
    git(root, "add", "a.py")
    git(root, "config", "core.fsmonitor", str(hook))
    git(root, "ls-files", "--others")
    assert ran.exists(), "the trap does not work, so the test would prove nothing"
    ran.unlink()
    open_tree(root)
    assert not ran.exists()


def test_the_environment_does_not_redirect_git(
    write_tree: WriteTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_tree({"other.py": ""}, "other")
    git(other, "init", "-q")
    root = write_tree({"a.py": ""})
    git(root, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert open_tree(root).paths == ("a.py",)


def test_a_foreign_owner_is_an_error_that_says_what_to_do(
    write_tree: WriteTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_tree({"a.py": ""})
    git(root, "init", "-q")
    # Git's own switch for testing this; no other user is needed.
    wrapper = tmp_path / "bin" / "git"
    wrapper.parent.mkdir()
    wrapper.write_text(
        f'#!/bin/sh\nGIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec {shutil.which("git")} "$@"\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    with pytest.raises(CodeintelError, match=r"another user .* run this as that user, or: git"):
        open_tree(root)


def test_an_empty_listing_is_an_error(write_tree: WriteTree) -> None:
    root = write_tree({".gitignore": "*\n"})
    git(root, "init", "-q")
    with pytest.raises(CodeintelError, match="git lists no file"):
        open_tree(root)


def test_what_is_no_source_tree(write_tree: WriteTree) -> None:
    root = write_tree({"file": ""})
    with pytest.raises(CodeintelError, match="not a directory"):
        open_tree(root / "file")
    git(root, "init", "-q", "--bare", "bare")
    with pytest.raises(CodeintelError, match="bare git repository"):
        open_tree(root / "bare")


def test_git_missing(write_tree: WriteTree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_tree({"a.py": ""})
    git(root, "init", "-q")
    monkeypatch.setenv("PATH", str(root))
    with pytest.raises(CodeintelError, match="git is not installed"):
        open_tree(root)
