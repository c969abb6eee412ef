"""Hypercorn's settings and units, read back by those who will read them."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypercorn.config import Config

if TYPE_CHECKING:
    from ansible.template import Templar

    from .conftest import Render

TEMPLATE = "hypercorn_service/hypercorn.toml.j2"
UNITS = {
    "notes@configured.service": "instance.service.j2",
    "notes.service": "service.service.j2",
    "notes.socket": "service.socket.j2",
}

# What the unit decides, or systemd in its place.
OF_THE_UNIT = {"bind", "worker_class", "workers", "daemon", "group", "pid_path", "umask", "user"}
# The topology decides on TLS, QUIC and listeners; no client shows a certificate.
OF_THE_EDGE = {
    "alpn_protocols", "ca_certs", "cert_reqs", "certfile", "insecure_bind", "keyfile",
    "keyfile_password", "quic_bind", "verify_flags", "verify_mode",
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
    assert tomllib.loads(path.read_text(encoding="utf-8"))["edge"] == {
        "forwarded_hops": 1,
        "stream_grace": 0,
    }


def test_where_tls_ends_here_each_family_has_a_tcp_and_a_udp_socket(render: Render) -> None:
    given: dict[str, Any] = {"mcp_edge_topology": "passthrough", "hypercorn_service_port": 9000}
    settings = tomllib.loads(render(TEMPLATE, **given))
    socket = render("hypercorn_service/service.socket.j2", **given)
    handed_over = [line for line in socket.splitlines() if line.startswith("Listen")]
    assert settings["insecure_bind"] + settings["bind"] + settings["quic_bind"] == [
        f"fd://{3 + index}" for index in range(len(handed_over))
    ]
    assert handed_over == [
        "ListenStream=/run/codeintel/http.sock",
        "ListenStream=127.0.0.1:9000", "ListenStream=[::1]:9000",
        "ListenDatagram=127.0.0.1:9000", "ListenDatagram=[::1]:9000",
    ]  # fmt: skip
    given["__hypercorn_service_survey"] = {"stdout_lines": []}
    settings = tomllib.loads(render(TEMPLATE, **given))
    assert (settings["bind"], settings["quic_bind"]) == (["fd://4"], ["fd://5"])
    assert "::1" not in render("hypercorn_service/service.socket.j2", **given)


def test_where_tls_ends_here_the_server_does_what_nginx_did(render: Render) -> None:
    settings = tomllib.loads(render(TEMPLATE, mcp_edge_topology="passthrough"))
    assert settings["alt_svc_headers"] == ['h3=":443"; ma=86400']
    edge = settings["edge"]
    assert edge["forwarded_hops"] == 1  # of what comes over the unix socket
    assert edge["max_body_size"] == 4 << 20
    assert edge["access_log"] == "codeintel-access"
    assert edge["response_headers"]["Strict-Transport-Security"] == "max-age=63072000"


def test_the_certificate_is_a_credential_and_renewed_by_a_reload(render: Render) -> None:
    given = {"mcp_edge_topology": "passthrough", "hypercorn_service_certificate_dir": "/etc/tls"}
    unit = unit_lines(render("hypercorn_service/instance.service.j2", **given))
    assert unit["Type"] == ["notify"]
    assert unit["LoadCredential"] == [
        "hypercorn.certificate:/etc/tls/current/fullchain.pem",
        "hypercorn.key:/etc/tls/current/privkey.pem",
    ]
    _, copy, tell = unit["ExecReload"]
    assert tell == "/bin/kill -HUP $MAINPID"
    assert copy.endswith(
        " -t /run/codeintel/certificate /etc/tls/current/fullchain.pem /etc/tls/current/privkey.pem"
    )
    settings = tomllib.loads(render(TEMPLATE, **given))
    assert settings["edge"]["certificate_reload"] == "/run/codeintel/certificate"
    assert settings["certfile"] == "hypercorn.certificate"


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
    socket = render("hypercorn_service/service.socket.j2", hypercorn_service_settings=given)
    assert "Backlog=64\n" in socket


def test_every_setting_of_hypercorn_is_known_or_left_out_on_purpose(known: set[str]) -> None:
    settings = {name for name in dir(Config) if not name.startswith("_")} - PARTS
    assert known | OF_THE_UNIT | OF_THE_EDGE | OF_NO_USE == settings
    assert not known & (OF_THE_UNIT | OF_THE_EDGE | OF_NO_USE)


def test_what_the_role_sets_is_a_setting_of_hypercorn(render: Render, known: set[str]) -> None:
    fixed = {"bind", "worker_class", "workers", "edge"}
    assert tomllib.loads(render(TEMPLATE)).keys() <= known | fixed
    fixed |= {"insecure_bind", "quic_bind", "certfile", "keyfile"}
    settings = tomllib.loads(render(TEMPLATE, mcp_edge_topology="passthrough"))
    assert settings.keys() <= known | fixed


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
    copy = "/var/lib/hypercorn_service/notes/%i"
    assert unit["EnvironmentFile"] == [f"-{copy}/environment"]
    assert unit["LoadCredential"] == [
        f"api_key:{copy}/credentials/api_key",
        f"token:{copy}/credentials/token",
    ]
    assert unit["ExecStart"] == [
        f"{copy}/venv/bin/python"
        f" /usr/local/lib/hypercorn_service/edge-0123456789ab --config {copy}/hypercorn.toml"
        " --instance /run/notes/instances/%i.sock codeintel.asgi:app"
    ]
    socket = unit_lines(render("hypercorn_service/service.socket.j2", **given))
    assert socket["ListenStream"] == ["/run/notes/http.sock"]
    assert socket["SocketMode"] == ["0660"]


def test_all_that_an_instance_reads_is_copied_for_it(render: Render) -> None:
    given: dict[str, Any] = {"hypercorn_service_name": "notes"}
    given["hypercorn_service_credentials"] = ["token"]
    options = tomllib.loads(render("hypercorn_service/instances.toml.j2", **given))
    unit = unit_lines(render("hypercorn_service/instance.service.j2", **given))
    read = " ".join(unit["EnvironmentFile"] + unit["LoadCredential"] + unit["ExecStart"])
    places = set(re.findall(r"/var/lib/hypercorn_service/notes/%i/(\S+)", read))
    assert places == {place for place, _ in options["files"]} | {"venv/bin/python"}
    assert {file for _, file in options["files"]} == {
        *("/etc/notes/environment", "/etc/notes/hypercorn.toml", "/etc/notes/credentials/token"),
    }


@pytest.mark.parametrize("template", UNITS.values())
def test_no_unit_says_a_thing_twice(render: Render, template: str) -> None:
    lines = unit_lines(render(f"hypercorn_service/{template}"))
    twice = {name for name, values in lines.items() if len(values) > 1}
    assert twice <= {"SystemCallFilter"}  # the second takes from the first


OUTBOUND = ["internet", "10.0.0.0/8", "fd00::7"]


def test_without_a_word_there_is_no_network(render: Render) -> None:
    unit = unit_lines(render("hypercorn_service/instance.service.j2"))
    assert unit["PrivateNetwork"] == ["yes"]
    assert unit["RestrictAddressFamilies"] == ["AF_UNIX"]
    assert unit["IPAddressDeny"] == ["any"]
    assert "IPAddressAllow" not in unit
    assert "/run/systemd/resolve" in unit["InaccessiblePaths"][0]


def test_the_network_is_open_to_what_is_named_and_to_resolvers(render: Render) -> None:
    unit = unit_lines(
        render("hypercorn_service/instance.service.j2", hypercorn_service_outbound=["192.0.2.7"])
    )
    assert "PrivateNetwork" not in unit
    assert unit["IPAddressAllow"] == ["127.0.0.53 192.0.2.7"]
    assert unit["IPAddressDeny"] == ["any"]
    assert unit["SocketBindDeny"] == ["any"]
    # What /etc/resolv.conf is a link into, where systemd-resolved runs.
    assert unit["InaccessiblePaths"] == ["-/run/dbus -/run/user"]


def test_resolvers_are_what_libc_asks_but_no_neighbours(render: Render) -> None:
    """A link-local address is where clouds keep the credentials of a host."""

    def allowed(*servers: str) -> list[str]:
        survey = {"stdout_lines": [f"resolver {server}" for server in servers]}
        given = {"__hypercorn_service_survey": survey, "hypercorn_service_outbound": ["internet"]}
        unit = unit_lines(render("hypercorn_service/instance.service.j2", **given))
        return unit["IPAddressAllow"]

    assert allowed("169.254.169.254", "192.0.2.53", "fe80::1", "FEBF::1") == ["192.0.2.53"]
    assert allowed() == ["127.0.0.1"]


def test_the_internet_is_public_addresses_and_no_others(render: Render) -> None:
    given: dict[str, Any] = {"hypercorn_service_outbound": OUTBOUND}
    given["__hypercorn_service_survey"] = {"stdout_lines": ["resolver 10.0.0.2", "resolver ::1"]}
    unit = unit_lines(render("hypercorn_service/instance.service.j2", **given))
    assert unit["IPAddressAllow"] == ["10.0.0.2 ::1 10.0.0.0/8 fd00::7"]
    denied = [ip_network(network) for network in unit["IPAddressDeny"][0].split()]

    def reached(address: str) -> bool:
        return not any(ip_address(address) in network for network in denied)

    private = (
        "0.0.0.0 10.1.2.3 100.64.0.1 127.0.0.1 169.254.169.254 172.16.0.1 172.31.255.255"
        " 192.168.1.1 224.0.0.1 255.255.255.255 :: ::1 ::ffff:10.0.0.1 64:ff9b:1::a00:1"
        " fc00::1 fd12::1 fe80::1 ff02::1 2002:a00:1::1 2001::1 5f00::1"
    )
    assert [address for address in private.split() if reached(address)] == []
    public = "1.1.1.1 9.9.9.9 100.63.0.1 100.128.0.1 172.15.0.1 172.32.0.1 192.167.0.1 198.17.0.1"
    public += " 2606:4700::1111 2a00:1450::1 2001:4860:4860::8888 3fff:ffff::1"
    assert [address for address in public.split() if not reached(address)] == []


def write_units(
    render: Render, folder: Path, topology: str, outbound: list[str] | None = None
) -> list[str]:
    for program in (folder / "configured/venv/bin/python", folder / "instances"):
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n", encoding="utf-8")
        program.chmod(0o755)
    given: dict[str, Any] = {"hypercorn_service_name": "notes"}
    given["__hypercorn_service_state"] = str(folder)
    given["__hypercorn_service_instances"] = str(folder / "instances")
    given |= {"mcp_edge_topology": topology, "hypercorn_service_outbound": outbound or []}
    for name, template in UNITS.items():
        text = render(f"hypercorn_service/{template}", **given)
        (folder / name).write_text(text, encoding="utf-8")
    return [str(folder / name) for name in UNITS]


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("template", ["service", "instance"])
def test_nobody_makes_the_sockets_blocking(render: Render, template: str) -> None:
    """Who is handed them changes them for all; the service has the name of the socket."""
    unit = unit_lines(render(f"hypercorn_service/{template}.service.j2"))
    assert unit["NonBlocking"] == ["yes"]


@pytest.mark.parametrize("outbound", [[], OUTBOUND])
@pytest.mark.parametrize("topology", ["terminating", "passthrough"])
def test_systemd_understands_the_units(
    render: Render, tmp_path: Path, topology: str, outbound: list[str]
) -> None:
    run = analyze("verify", "--man=no", *write_units(render, tmp_path, topology, outbound))
    assert (run.stderr, run.returncode) == ("", 0)


@pytest.mark.parametrize(
    ("outbound", "most"), [([], 0.5), (["internet"], 1.2), (["10.0.0.0/8"], 1.2)]
)
@pytest.mark.parametrize("topology", ["terminating", "passthrough"])
def test_systemd_finds_the_service_well_confined(
    render: Render, tmp_path: Path, topology: str, outbound: list[str], most: float
) -> None:
    service, *_ = write_units(render, tmp_path, topology, outbound)
    threshold = f"--threshold={most * 10:.0f}"
    run = analyze("security", "--offline=true", threshold, "--no-pager", service)
    assert run.returncode == 0, run.stdout
