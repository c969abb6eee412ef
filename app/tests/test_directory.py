import shutil
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from codeintel import directory as directory_module
from codeintel import indexer, store
from codeintel.directory import MAX_IDLE, IndexDirectory
from codeintel.errors import CodeintelError
from codeintel.schema import SCHEMA
from codeintel.store import index_path

Index = Callable[..., object]
REBUILD = "codeintel index PATH --name main"


def test_without_a_directory_the_reason_names_the_command(index_dir: Path) -> None:
    indexes = IndexDirectory(index_dir).scan()
    assert not indexes.ready
    assert "codeintel index PATH --name NAME" in (indexes.reason or "")


def test_what_is_no_directory(index_dir: Path) -> None:
    index_dir.write_text("")
    assert "cannot be read" in (IndexDirectory(index_dir).scan().reason or "")


def test_appearing_replaced_and_removed_files_are_noticed(index: Index, index_dir: Path) -> None:
    directory = IndexDirectory(index_dir)
    assert not directory.scan().ready
    index({"a.py": "1"}, "main")
    first = directory.scan()
    assert first.reason is None
    index({"a.py": "2"}, "main")
    assert directory.scan().ready["main"].generation != first.ready["main"].generation
    index_path(index_dir, "main").unlink()
    assert not directory.scan().ready


def test_an_unchanged_file_is_not_opened_again(
    index: Index, index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index({"a.py": "1"}, "main")
    directory = IndexDirectory(index_dir)
    first = directory.scan()

    def refuse(*_arguments: object, **_named: object) -> None:
        pytest.fail("opened again")

    monkeypatch.setattr(sqlite3, "connect", refuse)
    assert directory.scan().ready == first.ready


def change_version(file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA user_version = 1")


def change_application(file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA application_id = 1")


def drop_meta(file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("DROP TABLE meta")


def drop_key(file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("DELETE FROM meta WHERE key = 'generation'")


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


def garbage(file: Path) -> None:
    file.write_bytes(b"no database" * 500)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (change_version, "has schema 1, not 3"),
        (change_application, "is not an index"),
        (drop_meta, "is damaged"),
        (drop_key, "is damaged"),
        (truncate, "is damaged"),
        (garbage, "is damaged"),
    ],
)
def test_an_unusable_index_names_the_command_that_rebuilds_it(
    index: Index, index_dir: Path, harm: Callable[[Path], None], message: str
) -> None:
    index({"a.py": "1" * 20_000}, "main")
    index({"a.py": "1"}, "other")
    harm(index_path(index_dir, "main"))
    directory = IndexDirectory(index_dir)
    indexes = directory.scan()
    assert list(indexes.ready) == ["other"]
    assert message in indexes.broken["main"]
    assert REBUILD in indexes.broken["main"]
    with pytest.raises(CodeintelError, match=message), directory.open("main"):
        pass


def test_releases_with_other_schemas_leave_each_other_alone(
    index: Index, index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def release(schema: int) -> None:
        for module in (directory_module, indexer, store):
            monkeypatch.setattr(module, "SCHEMA_VERSION", schema)
        monkeypatch.setattr(indexer, "SCHEMA", SCHEMA.replace("= 3", f"= {schema}"))

    index({"a.py": "1"}, "main")
    old = IndexDirectory(index_dir)
    before = old.scan()
    release(4)
    new = IndexDirectory(index_dir)
    assert "main has schema 3, not 4" in new.scan().broken["main"]
    index({"a.py": "2"}, "main")
    assert list(new.scan().ready) == ["main"]
    assert not new.scan().broken
    release(3)
    assert old.scan() == before
    with old.open("main") as opened:
        assert opened.content("a.py") == b"1"

    release(5)
    index({"a.py": "3"}, "main.4")
    index({"a.py": "3"}, "main")  # the release before is as far back as one goes
    files = sorted(file.name for file in index_dir.iterdir())
    assert files == ["main.4.5.sqlite", "main.4.sqlite", "main.5.sqlite"]


def test_damage_within_a_text(index: Index, index_dir: Path) -> None:
    index({"a.py": "1" * 20_000}, "main")
    with sqlite3.connect(index_path(index_dir, "main")) as database:
        database.execute("UPDATE texts SET text = x'00'")
    directory = IndexDirectory(index_dir)
    with pytest.raises(CodeintelError, match="damaged"), directory.open("main") as opened:
        opened.content("a.py")


def test_damage_found_while_reading(index: Index, index_dir: Path) -> None:
    index({"a.py": "1" * 20_000}, "main")
    directory = IndexDirectory(index_dir)
    file = index_path(index_dir, "main")
    with pytest.raises(CodeintelError, match="damaged"), directory.open("main") as opened:
        file.write_bytes(b"\0" * 4096)
        opened.content("a.py")


def test_choosing_a_repository(index: Index, index_dir: Path) -> None:
    directory = IndexDirectory(index_dir)
    with pytest.raises(CodeintelError, match="no index yet"), directory.open(None):
        pass
    index({"a.py": "1"}, "main")
    with directory.open(None) as opened:
        assert opened.info.repository == "main"
    index({"a.py": "1"}, "other")
    with pytest.raises(CodeintelError, match="one of: main, other"), directory.open(None):
        pass
    with pytest.raises(CodeintelError, match=r"unknown repository '\.\./main'; one of"):
        directory.open("../main").__enter__()


def test_temporary_and_foreign_files_are_not_indexes(index: Index, index_dir: Path) -> None:
    index({"a.py": "1"}, "main")
    shutil.copy(index_path(index_dir, "main"), index_dir / ".main.3.sqlite")
    (index_dir / "notes.txt").write_text("")
    index_path(index_dir, "gone").symlink_to("nowhere")
    indexes = IndexDirectory(index_dir).scan()
    assert list(indexes.ready) == ["main"]
    assert not indexes.broken


def test_a_name_with_url_characters_opens(index: Index, tmp_path: Path) -> None:
    index({"a.py": "1"}, "main")
    odd = tmp_path / "odd?mode=rwc#%41"
    shutil.copytree(tmp_path / "indexes", odd)
    with IndexDirectory(odd).open("main") as opened:
        assert opened.paths() == ["a.py"]


def test_a_connection_serves_the_next_call_until_the_file_is_replaced(
    index: Index, index_dir: Path
) -> None:
    index({"a.py": "1"}, "main")
    directory = IndexDirectory(index_dir)
    with directory.open("main") as first, directory.open("main") as beside:
        assert first is not beside
    with directory.open("main") as again:
        assert again in {first, beside}
        index({"a.py": "2"}, "main")
        with directory.open("main") as new:
            assert new.content("a.py") == b"2"
        assert again.content("a.py") == b"1"
    for old in (first, beside):
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            old.paths()
    with directory.open("main") as kept:
        assert kept is new


def test_a_connection_that_failed_is_not_used_again(index: Index, index_dir: Path) -> None:
    index({"a.py": "1"}, "main")
    directory = IndexDirectory(index_dir)
    with pytest.raises(CodeintelError, match="damaged"), directory.open("main") as failed:
        raise sqlite3.DatabaseError
    with directory.open("main") as opened:
        assert opened is not failed


def test_only_so_many_connections_are_kept(index: Index, index_dir: Path) -> None:
    index({"a.py": "1"}, "main")
    directory = IndexDirectory(index_dir)
    with ExitStack() as stack:
        opened = [stack.enter_context(directory.open("main")) for _ in range(MAX_IDLE + 2)]
    unusable = 0
    for one in opened:
        try:
            one.paths()
        except sqlite3.ProgrammingError:
            unusable += 1
    assert unusable == 2


def test_a_directory_that_rests_is_not_listed_again(
    index: Index, index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codeintel.directory.FRESH_NS", 0)
    index({"a.py": "1"}, "main")
    directory = IndexDirectory(index_dir)
    first = directory.scan()
    assert directory.scan() is first
    index({"a.py": "2"}, "main")
    assert directory.scan() is not first
