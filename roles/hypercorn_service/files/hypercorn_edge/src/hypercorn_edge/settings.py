"""Read the configuration and refuse what would be misread."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from importlib.metadata import version
from ipaddress import ip_network
from pathlib import Path
from typing import Any

# The versions whose behaviour, some of it private, was tested. Bounds of (major, minor).
_TESTED = {"hypercorn": ((0, 18), (0, 19)), "aioquic": ((1, 7), (1, 8))}

_TYPES: dict[str, tuple[type, ...]] = {
    "a number": (int, float),
    "a whole number": (int,),
    "a string": (str,),
    "true or false": (bool,),
    "a string or a list of strings": (str, list),
    "a list of strings": (list,),
}

# The keys of Hypercorn 0.18 that mean something in one process that systemd runs.
_HYPERCORN = {
    "a number": """graceful_timeout keep_alive_timeout read_timeout shutdown_timeout
        ssl_handshake_timeout startup_timeout websocket_ping_interval""",
    "a whole number": """backlog group h11_max_incomplete_size h2_max_concurrent_streams
        h2_max_header_list_size h2_max_inbound_frame_size keep_alive_max_requests
        max_app_queue_size umask user verify_flags verify_mode websocket_max_message_size workers
        wsgi_max_body_size""",
    "a string": """access_log_format accesslog ca_certs certfile ciphers dogstatsd_tags errorlog
        keyfile keyfile_password logconfig loglevel root_path statsd_host statsd_prefix
        worker_class""",
    "true or false": "debug h11_pass_raw_headers include_date_header include_server_header",
    "a string or a list of strings": "bind insecure_bind quic_bind",
    "a list of strings": "alpn_protocols alt_svc_headers server_names",
}
_KINDS = {key: kind for kind, keys in _HYPERCORN.items() for key in keys.split()}
_EDGE_KINDS = {
    int: "a whole number",
    str: "a string",
    bool: "true or false",
    tuple: "a list of strings",
}
_REFUSED = {
    "daemon": "systemd runs the service",
    "max_requests": "systemd restarts the service",
    "max_requests_jitter": "systemd restarts the service",
    "pid_path": "systemd knows the process",
    "use_reloader": "it needs a second process",
}
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x21-\x7e\x80-\xff]([\x20-\x7e\x80-\xff\t]*[\x21-\x7e\x80-\xff])?")


class SettingsError(Exception):
    """A setting or version that the server cannot run with: key, value and remedy in one line."""


@dataclass(frozen=True)
class Edge:
    """The table ``[edge]``."""

    forwarded_hops: int = 0
    max_body_size: int = 0  # bytes; 0 allows any
    response_headers: Mapping[str, str] = field(default_factory=dict)
    stream_grace: int = 0  # seconds that event streams and WebSockets may go on after a stop
    certificate_reload: str = ""  # a folder with fullchain.pem and privkey.pem
    request_rate: int = 0  # requests a second of one address; 0 allows any
    request_burst: int = 0  # requests more at once
    request_concurrency: int = 100  # requests of one address at a time
    unlimited_networks: Sequence[str] = ()  # whom these limits do not concern
    limits_dry_run: bool = False  # note what would be refused, and serve it
    access_log: str = ""  # by which name the journal has a line of JSON for each request


def read(path: Path) -> tuple[dict[str, Any], Edge]:
    """Return Hypercorn's settings and ours from the file at `path`; raise SettingsError."""
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: {error}") from error
    table = settings.pop("edge", {})
    if not isinstance(table, dict):
        raise SettingsError(f"edge = {table!r}: must be a table")
    edge = _edge(table)
    for key, value in settings.items():
        _check_hypercorn(key, value)
    _check_together(settings, edge)
    check_versions(quic=bool(settings.get("quic_bind")))
    return {"worker_class": "uvloop", "workers": 0} | settings, edge


def check_versions(*, quic: bool) -> None:
    """Raise SettingsError unless what is installed is what was tested."""
    for name, (low, high) in _TESTED.items():
        installed = version(name)
        if (name != "aioquic" or quic) and not low <= _major_minor(installed) < high:
            bounds = f">={'.'.join(map(str, low))},<{'.'.join(map(str, high))}"
            raise SettingsError(f"{name} {installed}: not tested; install {name}{bounds}")


def _major_minor(installed: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", installed)[:2])


def _check_hypercorn(key: str, value: object) -> None:
    if key in _REFUSED:
        raise SettingsError(f"{key} = {value!r}: leave it out, {_REFUSED[key]}")
    if key not in _KINDS:
        raise _unknown(key, _KINDS)
    _check_type(key, value, _KINDS[key])


def _check_type(key: str, value: object, kind: str) -> None:
    right = isinstance(value, _TYPES[kind]) and (bool in _TYPES[kind] or type(value) is not bool)
    if right and isinstance(value, list):
        right = all(isinstance(item, str) for item in value)
    if not right:
        raise SettingsError(f"{key} = {value!r}: must be {kind}")
    if isinstance(value, int | float) and value < 0:
        raise SettingsError(f"{key} = {value!r}: must not be negative")


def _unknown(key: str, known: Mapping[str, object]) -> SettingsError:
    near = get_close_matches(key.rpartition(".")[2], known, 1)
    return SettingsError(f"{key}: unknown" + (f"; did you mean {near[0]}?" if near else ""))


def _edge(table: Mapping[str, Any]) -> Edge:
    known = {item.name: item for item in fields(Edge)}
    for key, value in table.items():
        if key not in known:
            raise _unknown(f"edge.{key}", known)
        if key == "response_headers":
            _check_headers(value)
        else:
            _check_type(f"edge.{key}", value, _EDGE_KINDS[type(known[key].default)])
            if key == "unlimited_networks":
                _check_networks(value)
    return Edge(**table)


def _check_networks(networks: list[str]) -> None:
    for network in networks:
        try:
            ip_network(network)
        except ValueError as error:
            raise SettingsError(f"edge.unlimited_networks = {network!r}: {error}") from error


def _check_headers(table: object) -> None:
    if not isinstance(table, dict):
        raise SettingsError(f"edge.response_headers = {table!r}: must be a table")
    for name, value in table.items():
        if not TOKEN.fullmatch(name):
            raise SettingsError(f"edge.response_headers.{name!r}: no name of a header")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise SettingsError(f"edge.response_headers.{name} = {value!r}: no value of a header")


def _check_together(settings: Mapping[str, Any], edge: Edge) -> None:
    tls = "certfile" in settings and "keyfile" in settings
    if not tls and ("certfile" in settings or "keyfile" in settings):
        raise SettingsError("certfile, keyfile: set both, or none")
    for key in ("quic_bind", "insecure_bind"):
        if settings.get(key) and not tls:
            raise SettingsError(f"{key} = {settings[key]!r}: needs certfile and keyfile")
    if edge.certificate_reload and not tls:
        raise SettingsError("edge.certificate_reload: needs certfile and keyfile, to fall back on")
    if settings.get("quic_bind") and "keyfile_password" in settings:
        raise SettingsError("keyfile_password: QUIC needs a key without a password")
    if settings.get("worker_class", "uvloop") != "uvloop":
        raise SettingsError(f"worker_class = {settings['worker_class']!r}: must be 'uvloop'")
    if settings.get("workers", 0) != 0:
        raise SettingsError(f"workers = {settings['workers']!r}: must be 0, one process serves all")
