import asyncio
import io
import json
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from codeintel.auth.store import AuthStore
from codeintel.auth.tokens import NamedTokens
from codeintel.cli import main
from codeintel.directory import IndexDirectory

COMMAND = [
    sys.executable,
    "-c",
    "import sys; from codeintel.cli import main; sys.exit(main(sys.argv[1:]))",
]

WriteTree = Callable[..., Path]


def test_index_ends_with_one_line(
    write_tree: WriteTree, index_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_tree({"a.py": "1", "b.py": "2", ".env": "", "c.bin": b"\0", "d.bin": b"\0"})
    assert main(["index", str(root), "--name", "main", "--index-dir", str(index_dir)]) == 0
    output = capsys.readouterr()
    assert output.out.startswith("indexed main: 2 files, 0.0 MB in ")
    assert output.out.endswith(", 2 changed; skipped: 2 binary, 1 secret\n")
    assert output.out.count("\n") == 1
    assert list(IndexDirectory(index_dir).scan().ready) == ["main"]


def test_the_index_directory_is_that_of_the_service(
    write_tree: WriteTree, index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEINTEL_INDEX_DIR", str(index_dir))
    assert main(["index", str(write_tree({"a.py": "1"})), "--name", "main"]) == 0
    assert list(IndexDirectory(index_dir).scan().ready) == ["main"]


def test_failures_are_one_line_on_stderr(
    index_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in (
        ["index", "/nonexistent", "--name", "main", "--index-dir", str(index_dir)],
        ["index", "/", "--name", "a/b", "--index-dir", str(index_dir)],
        ["index", str(Path(__file__).parent), "--name", "main", "--index-dir", "/proc/nothing"],
    ):
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert error.startswith("codeintel: ")
        assert error.count("\n") == 1
    monkeypatch.setenv("CODEINTEL_INDEX_DIRR", "/srv")
    assert main(["index", "/tmp", "--name", "main"]) == 1
    assert "CODEINTEL_INDEX_DIR?" in capsys.readouterr().err


def test_a_model_and_semantic_go_together(
    write_tree: WriteTree, index_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["index", str(write_tree({"a.py": "1"})), "--name", "m", "--index-dir", str(index_dir)]
    assert main([*common, "--semantic"]) == 1
    assert "give --model DIR or CODEINTEL_MODEL_DIR" in capsys.readouterr().err
    assert main([*common, "--model", "/nonexistent"]) == 1
    assert "add --semantic" in capsys.readouterr().err
    assert main([*common, "--semantic", "--model", "/nonexistent"]) == 1
    assert "/nonexistent" in capsys.readouterr().err
    assert main([*common, "--scip", "/nonexistent"]) == 1
    assert "/nonexistent" in capsys.readouterr().err


def test_watching_goes_on_from_one_build_to_the_next(
    write_tree: WriteTree, index_dir: Path
) -> None:
    root = write_tree({"a.py": "1"})
    command = [*COMMAND, "index", str(root), "--name", "main", "--watch"]
    with subprocess.Popen(
        [*command, "--index-dir", str(index_dir)], stdout=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None
        try:
            assert watching.stdout.readline().startswith("indexed main: 1 files")
            # The watch begins some time after the line: write until it sees one.
            watcher = iter(watching.stdout.readline, "")
            line = ""
            for number in range(600):
                (root / "b.py").write_text(f"{number}")
                if select.select([watching.stdout], [], [], 0.1)[0]:
                    line = next(watcher)
                    break
            assert line.startswith("indexed main: 2 files")
        finally:
            watching.terminate()


def test_doctor_exits_as_a_deployment_can_use(
    write_tree: WriteTree, index_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = ["--index-dir", str(index_dir)]
    assert main(["doctor", *here]) == 3
    assert "off     text: no index yet" in capsys.readouterr().out
    root = write_tree({"a.py": "1"})
    assert main(["index", str(root), "--name", "main", *here]) == 0
    assert main(["doctor", *here, "--tree", str(root)]) == 0
    assert f"ok      tree {root}: 1 files" in capsys.readouterr().out
    assert main(["doctor", *here, "--tree", str(root / "absent")]) == 1


def test_query_answers_as_the_tools_do(
    write_tree: WriteTree, index_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = ["--index-dir", str(index_dir)]
    main(["index", str(write_tree({"a.py": "one\ntwo = 2\n"})), "--name", "main", *here])
    capsys.readouterr()
    assert main(["query", *here, "grep", "pattern=o = 2", "limit=1", "ignore_case=true"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "repository": "main",
        "files": [{"path": "a.py", "lines": ["2: two = 2"]}],
    }
    for arguments, message in (
        (["grep", "pattern=("], "invalid pattern"),
        (["grep", "pattern=x", "limit=many"], "limit: input should be a valid integer"),
        (["grap"], "no tool 'grap' now; one of: search, fetch, grep,"),
        (["grep", "pattern"], "'pattern' is no argument; write NAME=VALUE"),
    ):
        assert main(["query", *here, *arguments]) == 1
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith(f"codeintel: {message}")
        assert output.err.count("\n") == 1


def test_the_installed_command() -> None:
    command = Path(sys.executable).with_name("codeintel")
    version = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("codeintel 0.1")
    usage = subprocess.run([command, "index"], capture_output=True, text=True, check=False)
    assert usage.returncode == 2
    shown = subprocess.run([command, "index", "-h"], capture_output=True, text=True, check=True)
    assert "--index-dir" in shown.stdout


def test_who_has_read_enough_is_told_nothing(index_dir: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [*COMMAND, "doctor", "--index-dir", str(index_dir)]
    told = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (told.returncode, told.stderr) == (1, "")


def test_the_command_does_not_load_the_server() -> None:
    script = "import sys, codeintel.cli; print(sorted({'fastmcp', 'fastapi'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_stop_leaves_nothing_behind(write_tree: WriteTree, index_dir: Path) -> None:
    root = write_tree({f"{n}.py": "def f(): pass\n" * 500 for n in range(1000)})
    command = [*COMMAND, "index", str(root), "--name", "main"]
    with subprocess.Popen([*command, "--index-dir", index_dir], stderr=subprocess.PIPE) as process:
        while not list(index_dir.glob(".main-*/main.*.sqlite")):
            assert process.poll() is None
        process.terminate()
        assert process.wait(10) == 128 + signal.SIGTERM
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    assert not list(index_dir.iterdir())


def test_what_lies_in_the_folder_that_one_is_in_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env").write_text("FASTMCP_LOG_LEVEL=nonsense\n")
    state = str(tmp_path / "state")
    command = [*COMMAND, "token", "add", "laptop", "--state-dir", state]
    done = subprocess.run(command, cwd=tmp_path, check=False)
    assert done.returncode == 0, capfd.readouterr().err
    assert capfd.readouterr().out.startswith("cit_")


def test_tokens_and_sessions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = ["--state-dir", str(tmp_path)]
    assert main(["token", "add", "laptop", "--expires", "90d", *state]) == 0
    token = capsys.readouterr().out.strip()
    assert main(["token", "list", *state]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith("laptop ")
    assert "used never" in listed
    assert token not in listed
    verifier = NamedTokens(AuthStore(tmp_path), "http://localhost")
    assert asyncio.run(verifier.verify_token(token)) is not None
    assert main(["token", "list", *state]) == 0
    [used] = re.findall(r"used (.+)", capsys.readouterr().out)
    assert abs(datetime.fromisoformat(used) - datetime.now(UTC)) < timedelta(minutes=2)
    for wrong in (
        ["add", "laptop"],
        ["add", "a b"],
        ["add", "x", "--expires", "soon"],
        ["revoke", "y"],
    ):
        assert main(["token", *wrong, *state]) == 1
        assert capsys.readouterr().err.count("\n") == 1
    assert main(["token", "revoke", "laptop", *state]) == 0
    assert main(["revoke", *state]) == 0
    assert "0 clients" in capsys.readouterr().out


@pytest.mark.parametrize(
    "bind", ["0.0.0.0:8000", "[::]:8000", ":8000", "192.0.2.1:8000", "localhost.example.com:8000"]
)
def test_without_authentication_nobody_else_can_reach_the_server(
    bind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[str] = []
    monkeypatch.setattr("codeintel.serving.serve", lambda _app, bind: served.append(bind))
    assert main(["serve", "--bind", bind]) == 1
    refused = capsys.readouterr().err
    assert bind in refused
    assert "127.0.0.1" in refused
    assert "CODEINTEL_ALLOW_PUBLIC_WITHOUT_AUTH" in refused
    assert refused.count("\n") == 1
    assert not served
    monkeypatch.setenv("CODEINTEL_ALLOW_PUBLIC_WITHOUT_AUTH", "true")
    assert main(["serve", "--bind", bind]) == 0
    assert served == [bind]


@pytest.mark.parametrize(
    "bind", ["127.0.0.1:8000", "[::1]:8000", "::1:8000", "localhost:8000", "unix:/run/x.sock"]
)
def test_without_authentication_this_machine_can(
    bind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[str] = []
    monkeypatch.setattr("codeintel.serving.serve", lambda _app, bind: served.append(bind))
    assert main(["serve", "--bind", bind]) == 0
    assert served == [bind]


def test_a_password_is_hashed_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(password: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))

    say("correct horse battery")
    assert main(["password"]) == 0
    (tmp_path / "hash").write_text(capsys.readouterr().out)
    for password, code in (("correct horse battery", 0), ("another of that length", 1)):
        say(password)
        assert main(["password", "--check", str(tmp_path / "hash")]) == code
    say("short")
    assert main(["password"]) == 1
    assert "12 characters" in capsys.readouterr().err
