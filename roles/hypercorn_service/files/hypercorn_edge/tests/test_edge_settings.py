"""The configuration, and what is said where it is wrong."""

import importlib.metadata
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypercorn.config import Config
from hypercorn_edge import settings
from hypercorn_edge.cli import main

from .edge_server import SRC, serving

TLS = "certfile = 'c'\nkeyfile = 'k'\n"
Check = Callable[[str], tuple[int, str]]


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Run --check on a configuration; return the exit status and what was said."""

    def run(text: str) -> tuple[int, str]:
        path = tmp_path / "hypercorn.toml"
        path.write_text(text)
        status = main(["--check", "--config", str(path), "no_such_module:app"])
        return status, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bind = 'fd://3'\nkeep_alive_timeout = 75\ngraceful_timeout = 2.5\nserver_names = ['a']",
        TLS + "quic_bind = ['fd://4']\nbind = ['fd://3']\nworkers = 0\nworker_class = 'uvloop'",
        TLS + "[edge]\nforwarded_hops = 1\nmax_body_size = 5\ncertificate_reload = '/c'",
        "[edge.response_headers]\nStrict-Transport-Security = 'max-age=1; preload'",
    ],
)
def test_right(check: Check, text: str) -> None:
    assert check(text) == (0, "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bnid = 'a'", "bnid: unknown; did you mean bind?"),
        ("[edge]\nmax_body = 1", "edge.max_body: unknown; did you mean max_body_size?"),
        ("[egde]\na = 1", "egde: unknown"),
        ("edge = 1", "edge = 1: must be a table"),
        ("backlog = '1'", "backlog = '1': must be a whole number"),
        ("backlog = true", "backlog = True: must be a whole number"),
        ("backlog = -1", "backlog = -1: must not be negative"),
        ("debug = 1", "debug = 1: must be true or false"),
        ("bind = 3", "bind = 3: must be a string or a list of strings"),
        ("bind = [3]", "bind = [3]: must be a string or a list of strings"),
        ("server_names = 'a'", "server_names = 'a': must be a list of strings"),
        ("workers = 1", "workers = 1: must be 0, one process serves all"),
        ("worker_class = 'asyncio'", "worker_class = 'asyncio': must be 'uvloop'"),
        ("daemon = true", "daemon = True: leave it out, systemd runs the service"),
        ("certfile = 'c'", "certfile, keyfile: set both, or none"),
        ("quic_bind = 'fd://3'", "quic_bind = 'fd://3': needs certfile and keyfile"),
        ("[edge]\nforwarded_hops = -1", "edge.forwarded_hops = -1: must not be negative"),
        ("[edge]\nforwarded_hops = 1.5", "edge.forwarded_hops = 1.5: must be a whole number"),
        ("[edge]\nmax_body_size = true", "edge.max_body_size = True: must be a whole number"),
        ("[edge]\ncertificate_reload = 1", "edge.certificate_reload = 1: must be a string"),
        ("[edge]\ncertificate_reload = 'a'", "edge.certificate_reload: needs certfile"),
        ("[edge]\nresponse_headers = 1", "edge.response_headers = 1: must be a table"),
        (
            "[edge.response_headers]\n'a b' = 'c'",
            "edge.response_headers.'a b': no name of a header",
        ),
        ("[edge.response_headers]\na = 'b\\r\\nc'", ""),
        (
            '[edge.response_headers]\na = "b\\r\\nc"',
            "edge.response_headers.a = 'b\\r\\nc': no value",
        ),
        ("[edge.response_headers]\na = 1", "edge.response_headers.a = 1: no value of a header"),
        ("a", "hypercorn.toml: "),
        (TLS + "quic_bind = 'fd://3'\nkeyfile_password = 'p'", "keyfile_password: QUIC needs"),
    ],
)
def test_wrong(check: Check, text: str, said: str) -> None:
    status, error = check(text)
    assert (status, error.count("\n")) == ((2, 1) if said else (0, 0))
    assert said in error


def test_a_missing_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", "--config", "/nowhere.toml", "a:b"]) == 2
    assert "/nowhere.toml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "version", "text", "refused"),
    [
        ("hypercorn", "0.17.3", "", True),
        ("hypercorn", "0.19.0", "", True),
        ("hypercorn", "0.18.7", "", False),
        ("aioquic", "1.6.9", TLS + "quic_bind = 'fd://3'", True),
        ("aioquic", "1.8.0", TLS + "quic_bind = 'fd://3'", True),
        ("aioquic", "2.0", "", False),
    ],
)
def test_versions(  # noqa: PLR0913, PLR0917
    check: Check,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    version: str,
    text: str,
    refused: bool,
) -> None:
    installed = importlib.metadata.version
    monkeypatch.setattr(settings, "version", lambda n: version if n == name else installed(n))
    status, error = check(text)
    assert status == (2 if refused else 0)
    if refused:
        assert f"{name} {version}: not tested; install {name}>=" in error


def test_every_key_is_one_of_hypercorns() -> None:
    known = {name for name in dir(Config) if not name.startswith("_")}
    ours = set(settings._KINDS) | set(settings._REFUSED)
    assert ours <= known
    values = {name for name in known if not callable(getattr(Config, name))}
    code = {"application_path", "cert_reqs", "log", "logconfig_dict", "ssl_enabled"}
    assert values - ours <= code, "Hypercorn has keys that are not decided upon"


def test_the_command_line_runs_from_a_copy(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("bnid = 1")
    command = [sys.executable, str(SRC), "--check", "--config", "c.toml", "a:b"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("hypercorn-edge: bnid: unknown")


@pytest.mark.parametrize(
    ("app", "said"),
    [("nothing:app", "module not found"), ("edge_app:nothing", "application not found")],
)
def test_an_app_that_is_not_there(tmp_path: Path, app: str, said: str) -> None:
    with serving(tmp_path, wait=False, unix=True, app=app) as server:
        assert server.process.wait(10) == 1
        assert said in server.output()
        assert "Traceback" not in server.output()
