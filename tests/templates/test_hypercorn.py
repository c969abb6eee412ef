"""Hypercorn's settings and units, read back by those who will read them."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypercorn.config import Config

if TYPE_CHECKING:
    from ansible.template import Templar

    from .conftest import Render

TEMPLATE = "hypercorn_service/hypercorn.toml.j2"
UNITS = {"notes.service": "instance.service.j2", "notes.socket": "instance.socket.j2"}

# What the unit decides, or systemd in its place.
OF_THE_UNIT = {"bind", "worker_class", "workers", "daemon", "group", "pid_path", "umask", "user"}
# TLS, QUIC and further listeners: nginx has them.
OF_THE_EDGE = {
    "alpn_protocols", "alt_svc_headers", "ca_certs", "cert_reqs", "certfile", "ciphers",
    "insecure_bind", "keyfile", "keyfile_password", "quic_bind", "ssl_handshake_timeout",
    "verify_flags", "verify_mode",
}  # fmt: skip
# For development, for workers that come and go, or without a form in TOML.
OF_NO_USE = {
    "logconfig_dict", "logger_class", "max_requests", "max_requests_jitter", "use_reloader"
}  # fmt: skip
# Not settings.
PARTS = {
    "create_sockets", "create_ssl_context", "from_mapping", "from_object", "from_pyfile",
    "from_toml", "log", "response_headers", "set_cert_reqs", "set_statsd_logger_class",
    "ssl_enabled",
}  # fmt: skip


@pytest.fixture
def known(variables: Callable[..., Templar]) -> set[str]:
    """Return the settings that a user may choose."""
    templar = variables("hypercorn_service")
    return set(templar.resolve_variable_expression("__hypercorn_service_known_settings"))


def test_the_settings_of_the_role_are_loaded(render: Render, tmp_path: Path) -> None:
    path = tmp_path / "hypercorn.toml"
    path.write_text(render(TEMPLATE), encoding="utf-8")
    config = Config.from_toml(path)
    assert config.bind == ["fd://3"]
    assert config.workers == 0
    assert config.worker_class == "uvloop"
    assert config.include_server_header is False
    assert config.errorlog == "-"


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "",
        'a "quoted" word',
        "back\\slash \\n \\u0041",
        "ümlaut, 日本, 🎉",
        "two\nlines\tand a tab",
        "# no comment, [no] table = {no}",
        "%(h)s",
        True,
        False,
        0,
        2.5,
        ["a", 'b"c', "ü"],
        [],
    ],
)
def test_a_value_survives(render: Render, value: object) -> None:
    text = render(TEMPLATE, hypercorn_service_settings={"root_path": value})
    assert tomllib.loads(text)["root_path"] == value


def test_a_user_changes_defaults_but_not_what_the_unit_decides(render: Render) -> None:
    given = {"keep_alive_timeout": 5, "backlog": 64, "workers": 4}
    settings = tomllib.loads(render(TEMPLATE, hypercorn_service_settings=given))
    assert settings["keep_alive_timeout"] == 5
    assert settings["workers"] == 0
    socket = render("hypercorn_service/instance.socket.j2", hypercorn_service_settings=given)
    assert "Backlog=64\n" in socket


def test_every_setting_of_hypercorn_is_known_or_left_out_on_purpose(known: set[str]) -> None:
    settings = {name for name in dir(Config) if not name.startswith("_")} - PARTS
    assert known | OF_THE_UNIT | OF_THE_EDGE | OF_NO_USE == settings
    assert not known & (OF_THE_UNIT | OF_THE_EDGE | OF_NO_USE)


def test_what_the_role_sets_is_a_setting_of_hypercorn(render: Render, known: set[str]) -> None:
    fixed = {"bind", "worker_class", "workers"}
    assert tomllib.loads(render(TEMPLATE)).keys() <= known | fixed


def unit_lines(text: str) -> dict[str, list[str]]:
    lines: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            lines.setdefault(name, []).append(value)
    return lines


def test_the_service_names_its_instance_everywhere(render: Render) -> None:
    given: dict[str, Any] = {"hypercorn_service_name": "notes"}
    given["hypercorn_service_credentials"] = ["token", "api_key"]
    unit = unit_lines(render("hypercorn_service/instance.service.j2", **given))
    assert unit["User"] == unit["StateDirectory"] == ["notes"]
    assert unit["Requires"] == unit["After"] == ["notes.socket"]
    assert unit["EnvironmentFile"] == ["-/etc/notes/environment"]
    assert unit["LoadCredential"] == [
        "api_key:/etc/notes/credentials/api_key",
        "token:/etc/notes/credentials/token",
    ]
    assert unit["ExecStart"] == [
        "/srv/notes/current/venv/bin/python -m hypercorn"
        " --config /etc/notes/hypercorn.toml codeintel.asgi:app"
    ]
    socket = unit_lines(render("hypercorn_service/instance.socket.j2", **given))
    assert socket["ListenStream"] == ["/run/notes/http.sock"]
    assert socket["SocketMode"] == ["0660"]


@pytest.mark.parametrize("template", UNITS.values())
def test_no_unit_says_a_thing_twice(render: Render, template: str) -> None:
    lines = unit_lines(render(f"hypercorn_service/{template}"))
    twice = {name for name, values in lines.items() if len(values) > 1}
    assert twice <= {"SystemCallFilter"}  # the second takes from the first


def write_units(render: Render, folder: Path) -> list[str]:
    python = folder / "venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n", encoding="utf-8")
    python.chmod(0o755)
    given = {"hypercorn_service_name": "notes", "hypercorn_service_venv": folder / "venv"}
    for name, template in UNITS.items():
        text = render(f"hypercorn_service/{template}", **{k: str(v) for k, v in given.items()})
        (folder / name).write_text(text, encoding="utf-8")
    return [str(folder / name) for name in UNITS]


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False
    )


def test_systemd_understands_the_units(render: Render, tmp_path: Path) -> None:
    run = analyze("verify", "--man=no", *write_units(render, tmp_path))
    assert (run.stderr, run.returncode) == ("", 0)


def test_systemd_finds_the_service_well_confined(render: Render, tmp_path: Path) -> None:
    service, _ = write_units(render, tmp_path)
    run = analyze("security", "--offline=true", "--threshold=5", "--no-pager", service)
    assert run.returncode == 0, run.stdout
