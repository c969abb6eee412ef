import os
from collections.abc import Callable
from pathlib import Path

import pytest
from codeintel import languages
from codeintel.context import ApplicationContext, create_context
from codeintel.doctor import Check, Verdict, diagnose, verdict
from codeintel.store import index_path

Index = Callable[..., object]


def look(context: ApplicationContext, *trees: Path) -> tuple[dict[str, Check], Verdict]:
    checks = list(diagnose(context, trees))
    return {check.name: check for check in checks}, verdict(context, checks)


def test_nothing_indexed_yet(context: ApplicationContext) -> None:
    checks, code = look(context)
    assert code == 3
    assert checks["text"].state == "off"
    assert "codeintel index" in str(checks["text"])


def test_all_is_well(context: ApplicationContext, index: Index) -> None:
    index({"a.py": "def f(): pass\n"}, "main")
    checks, code = look(context)
    assert code == 0
    assert str(checks["text"]) == "ok      text"
    assert checks["git"].state == checks["grammars"].state == "ok"
    assert "1 files, 1 symbols, commit unknown, 0:00:0" in str(checks["index main"])
    assert "--semantic" in (checks["semantic"].detail or "")


def test_a_broken_index_breaks(context: ApplicationContext, index: Index) -> None:
    index({"a.py": "1"}, "main")
    index_path(context.settings.index_dir, "old").write_bytes(b"")
    checks, code = look(context)
    assert code == 1
    assert checks["index old"].state == "broken"
    assert "--name old" in str(checks["index old"])


def test_what_cannot_be_read_breaks(context: ApplicationContext) -> None:
    context.settings.index_dir.write_text("no directory")
    checks, code = look(context)
    assert code == 1
    assert str(context.settings.index_dir) in (checks["indexes"].detail or "")


def test_a_model_that_was_given_and_cannot_be_loaded_breaks(
    context: ApplicationContext, index: Index, tmp_path: Path
) -> None:
    index({"a.py": "1"}, "main")
    settings = context.settings.model_copy(update={"model_dir": tmp_path / "nowhere"})
    checks, code = look(create_context(settings))
    assert code == 1
    assert "config.json" in (checks["model"].detail or "")


def test_a_tree_of_another_owner_breaks(
    context: ApplicationContext, index: Index, tmp_path: Path
) -> None:
    index({"a.py": "1"}, "main")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a").write_text("")
    assert look(context, tmp_path / "mine")[1] == 0
    assert look(context, tmp_path / "absent")[1] == 1
    if os.geteuid() == 0:
        foreign = tmp_path / "foreign"
        (foreign / ".git").mkdir(parents=True)
        os.chown(foreign, 12345, 12345)
        checks, code = look(context, foreign)
        assert code == 1
        assert checks[f"tree {foreign}"].state == "broken"


def test_missing_tools_are_named(
    context: ApplicationContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(language: str) -> None:
        raise ImportError(language)

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(languages, "grammar", absent)
    checks, code = look(context)
    assert code == 1
    assert str(checks["git"]) == "off     git: not installed; install git"
    assert "none works for bash, c," in str(checks["grammars"])
