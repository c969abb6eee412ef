"""Bad input and unfit hosts stop the roles before the first change, with words that help.

The cases are hosts of one play: their variables are what a user would have written, and the
commands that the roles ask a host with are stubs. Nothing but the roles' preflight runs. Cases
share a host where the role's first check tells all of them at once: each task takes its time.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROLES = ("certbot_webroot", "fail2ban_mcp", "hypercorn_service", "mcp_app", "nginx_quic")
WITH_DOMAIN = ("certbot_webroot", "mcp_app", "nginx_quic")
WITH_TOPOLOGY = ("fail2ban_mcp", "hypercorn_service", "nginx_quic")

GOOD = {
    "mcp_edge_domain": "mcp.test",
    "mcp_edge_topology": "terminating",
    "mcp_edge_acme_email": "admin@example.com",
    "mcp_app_python": "python3",
}
COMMANDS = {
    "nginx": "echo nginx/1.26.3 --with-http_v3_module --x=/var/lib/nginx/body >&2",
    "python3": "echo 3.13.5",
    "ss": "true",
    "systemctl": "[ $1 != cat ] || exit 1; echo 'systemd 257 (257.7-1)'",
}
PLAY = """
- hosts: mcp_edge
  gather_facts: false
  environment:
    PATH: "{{ commands }}:{{ lookup('ansible.builtin.env', 'PATH') }}"
  tasks:
    - ansible.builtin.set_fact: {cacheable: true, os_family: Debian, service_mgr: systemd,
        distribution: Debian, distribution_version: "13"}
      run_once: true
    - ansible.builtin.set_fact: {cacheable: true, os_family: RedHat, service_mgr: sysvinit,
        distribution: Fedora, distribution_version: "44"}
      delegate_to: "{{ item }}"
      delegate_facts: true
      run_once: true
      loop: "{{ groups.unfit }}"
    - block:
        - ansible.builtin.include_role:
            name: "codeintel.mcp_edge.{{ role }}"
            tasks_from: preflight
      rescue:
        - ansible.builtin.set_fact:
            message: "{{ ansible_failed_result.results | default([ansible_failed_result])
              | select('failed') | map(attribute='msg') | join('; ') }}"

- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.copy:
        content: "{{ dict(groups.mcp_edge | zip(groups.mcp_edge | map('extract', hostvars)
          | map(attribute='message', default=''))) | to_json }}"
        dest: "{{ messages }}"
        mode: "0600"
"""

MINE = {"name": "mine", "url": "https://example.com/mine.git"}
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----"
OIDC: dict[str, Any] = {
    "issuer": "https://login.example.com",
    "client_id": "x",
    "client_secret": "hunter2",
    "allowed": ["me@example.com"],
}
PUBLIC = {"mcp_edge_domain": "mcp.codeintel.dev"}
LOWER_CASE = "give lower-case letters, digits and dashes"
HOST_NAME = "set mcp_edge_domain to the public host name in lower case"
ABSOLUTE = "give an absolute path without spaces"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a user did, and the words that tell of it; a variable that is None was not given."""

    role: str
    given: Mapping[str, Any] = field(default_factory=dict)
    commands: Mapping[str, str] = field(default_factory=dict)
    fit: bool = True
    told: tuple[str, ...] = ()

    def __str__(self) -> str:
        did = ", ".join(
            f"{name}={value}" for name, value in {**self.given, **self.commands}.items()
        )
        return f"{self.role}: {did or ('good' if self.fit else 'another system')}"

    def concerns(self) -> set[str]:
        """Return the last words of its variables: mcp_edge_domain stands for mcp_app_domain."""
        return {name.rpartition("_")[2] for name in self.given}


def bad(variable: str, value: object, *told: str) -> Case:
    """Give one variable a value; the message has both, and the remedy."""
    role = next(role for role in ROLES if variable.startswith(f"{role}_"))
    shown = value if isinstance(value, str) else json.dumps(value)
    return Case(role=role, given={variable: value}, told=(variable, shown, *told))


def bad_input(role: str, variable: str, value: str | None, *told: str) -> Case:
    """Give one of the collection's inputs a value; the message has the role's variable for it."""
    name = f"{role}_{variable.rpartition('_')[2]}"
    return Case(role=role, given={variable: value}, told=(f'{name} is "{value or ""}"', *told))


def repositories(items: list[Any], *told: str) -> Case:
    """Give repositories; each complaint has the variable's name."""
    return Case(role="mcp_app", given={"mcp_app_repositories": items},
                told=("Nothing was changed. mcp_app_repositories", *told))  # fmt: skip


def ways_in(given: dict[str, Any], *told: str) -> Case:
    """Give variables of who may come in; each complaint begins with one of their names."""
    return Case(role="mcp_app", given=given, told=("Nothing was changed. mcp_app_", *told))


def oidc(given: dict[str, Any], *told: str) -> Case:
    """Give something else of the identity provider than what is right."""
    return ways_in({"mcp_app_auth": "oidc", "mcp_app_oidc": OIDC | given}, "mcp_app_oidc", *told)


def asking(*servers: str) -> dict[str, str]:
    """Have /etc/resolv.conf name these."""
    lines = "; ".join(f"echo resolver {server}" for server in servers) or ":"
    return {"sed": f'case "$*" in */etc/resolv.conf) {lines} ;; *) exec /bin/sed "$@" ;; esac'}


MALFORMED = [
    *(Case(role=role, given={f"{role}_nmae": 1}, told=(f"{role}_nmae is not a variable",
           f"did you mean {role}_name?")) for role in ROLES),
    *(Case(role=role, given={"mcp_edge_domian": 1}, told=("mcp_edge_domian is not a variable",
           "did you mean mcp_edge_domain?")) for role in ROLES),
    *(bad(f"{role}_name", name, LOWER_CASE)
      for role in ROLES for name in ("my_app", "App", "mcp-edge")),
    *(bad_input(role, "mcp_edge_domain", domain, HOST_NAME) for role in WITH_DOMAIN
      for domain in (None, "https://mcp.test", "Mcp.test", "mcp..test", "mcp", "mcp.test.")),
    *(bad_input(role, "mcp_edge_topology", topology, "must be one of: terminating, passthrough")
      for role in WITH_TOPOLOGY for topology in (None, "Passthrough", "foo")),
    bad_input("certbot_webroot", "mcp_edge_acme_email", None, "set mcp_edge_acme_email to the"),
    bad_input("certbot_webroot", "mcp_edge_acme_email", "admin", "set mcp_edge_acme_email to the"),
    bad("certbot_webroot_directory_url", "http://acme.test", "give the https address"),
    bad("certbot_webroot_profile", "Short Lived", "give the name of a profile, or ''"),
    bad("certbot_webroot_webroot", "www/acme", ABSOLUTE),
    bad("certbot_webroot_destination", "/srv/my certs", ABSOLUTE),
    bad("mcp_app_certificate", "certificate.pem", ABSOLUTE),
    bad("certbot_webroot_public_copy", "certificate.pem", ABSOLUTE),
    bad("certbot_webroot_group", ["www-data"], "give a string"),
    bad("certbot_webroot_group", "www data", "give the name of a group"),
    bad("certbot_webroot_reload", "notes", "give the name of a service such as"),
    bad("fail2ban_mcp_log_path", "access.log", ABSOLUTE),
    bad("fail2ban_mcp_statuses", [403, 200], "give status codes from 400 to 499"),
    bad("fail2ban_mcp_statuses", 403, "give a list"),
    bad("fail2ban_mcp_max_retry", 0, "give a number from 1 on"),
    bad("fail2ban_mcp_find_time", "2m", "unable to convert to int"),
    bad("fail2ban_mcp_ban_time", 0, "give seconds from 1 on"),
    bad("fail2ban_mcp_ban_time_max", "1w", "unable to convert to int"),
    bad("fail2ban_mcp_ignored", ["192.0.2.0/24"], "give a dictionary"),
    bad("hypercorn_service_port", 80, "give a port from 1024 to 65535"),
    bad("hypercorn_service_certificate_dir", "certificate", ABSOLUTE),
    bad("hypercorn_service_max_body_size", "4m", "unable to convert to int"),
    bad("hypercorn_service_response_headers", "X: y", "give a dictionary"),
    bad("hypercorn_service_unlimited_networks", ["office"], "such as 192.0.2.7 or 2001:db8::/48"),
    bad("hypercorn_service_watchdog", -1, "from 0 on"),
    bad("hypercorn_service_asgi", {"app": "x"}, "give a string"),
    bad("hypercorn_service_asgi", "codeintel.asgi", "give package.module:object"),
    bad("hypercorn_service_venv", "/opt/my venv", ABSOLUTE),
    bad("hypercorn_service_environment_file", "environment", ABSOLUTE),
    bad("hypercorn_service_credentials", ["a/b"], "give names of letters, digits, _ and -"),
    bad("hypercorn_service_credentials", "key", "give a list of strings"),
    bad("hypercorn_service_socket_group", "www data", "give the name of a group"),
    bad("hypercorn_service_health_path", "livez", "give a path that starts with /"),
    bad("hypercorn_service_memory_max", "1GB", "such as 1G"),
    bad("hypercorn_service_outbound", "internet", "give a list of strings"),
    *(bad(f"{role}_outbound", [network], "give internet, or addresses and networks")
      for role in ("hypercorn_service", "mcp_app")
      for network in ("everywhere", "0.0.0.0/0", "10.0.0.7/8", "login.example.com")),
    bad("hypercorn_service_tasks_max", "lots", "unable to convert to int"),
    bad("hypercorn_service_settings", "debug", "give a dictionary"),
    bad("mcp_app_source", "zip", "must be one of: path, wheel, pypi, git"),
    bad("mcp_app_location", "", "say where the app comes from"),
    bad("mcp_app_asgi", "asgi", "give package.module:object"),
    bad("mcp_app_settings", "KEY=value", "give a dictionary"),
    bad("mcp_app_keep_releases", 0, "keep two releases at least"),
    bad("mcp_app_python", ["python3"], "give a string"),
    bad("mcp_app_index_command", "index", "give a list of strings"),
    bad("mcp_app_check_command", ["a\nb"], "each on one line"),
    bad("mcp_app_auth", "password", "must be one of: owner, tokens, oidc, none"),
    *(Case(role="mcp_app", given={"mcp_app_owner_password": password},
           told=("mcp_app_owner_password is (hidden)", "give 12 characters or more on one line"))
      for password in ("hunter2", "hunter2\nhunter2 hunter2")),
    *(bad("mcp_app_redirect_uris", [uri], "give whole callbacks such as")
      for uri in ("client.example.com", "http://client.example.com/callback", "https://*.example.com/#x",
                  "javascript:/alert(1)", "https://client.example.com/a b")),
    bad("mcp_app_client_documents", "perhaps", "unable to convert to bool"),
    bad("mcp_app_revoke_sessions", "perhaps", "unable to convert to bool"),
    Case(role="mcp_app", given={"mcp_app_oidc": "hunter2"},
         told=("mcp_app_oidc is (hidden)", "give a dictionary")),
    Case(role="mcp_app", given={"mcp_app_repositories": {"name": "hunter2"}},
         told=("mcp_app_repositories is (hidden)", "give a list")),
    Case(role="mcp_app", given={"mcp_app_secrets": "hunter2"},
         told=("mcp_app_secrets is (hidden)", "give a dictionary")),
    bad("nginx_quic_domain", {"name": "mcp.test"}, "give a string"),
    bad("nginx_quic_upstream", "http://127.0.0.1:8000", "unix:/path/to/socket or address:port"),
    bad("nginx_quic_private_paths", "/api/metrics", "give a list of strings"),
    bad("nginx_quic_private_paths", ["metrics"], "give paths that start with /"),
    bad("nginx_quic_certificate_dir", "certificates", ABSOLUTE),
    bad("nginx_quic_webroot", "/var/www; rm", ABSOLUTE),
    bad("nginx_quic_max_body_size", "8M", "such as 8m"),
    bad("nginx_quic_worker_connections", 10, "give a number from 100 on"),
    bad("nginx_quic_stream_timeout", "1h", "unable to convert to int"),
    bad("nginx_quic_passthrough_port", 443, "give a port from 1024 to 65535"),
    bad("nginx_quic_sni_backends", "other.test", "give a dictionary"),
    *(bad(f"nginx_quic_{name}", 0, "give a number from 1 on")
      for name in ("request_rate", "request_burst", "request_concurrency",
                   "connection_rate", "connection_burst", "connection_concurrency")),
    *(bad("nginx_quic_unlimited_networks", [network], "such as 192.0.2.7 or 2001:db8::/48")
      for network in ("office", "192.0.2.300", "192.0.2.7/24", "2001:db8::/129", "")),
    bad("nginx_quic_denied_agents", ['a"b'], "give parts of what clients call themselves"),
    bad("nginx_quic_limits_dry_run", "perhaps", "unable to convert to bool"),
    bad("nginx_quic_firewall_open_ports", ["22"], "such as 51820/udp"),
]  # fmt: skip

REFUSED = [
    Case(role="certbot_webroot", fit=False,
         told=("This host is Fedora 44 with sysvinit", "Use Debian 12")),
    Case(role="fail2ban_mcp", fit=False,
         told=("This host is Fedora 44 with sysvinit", "Use Debian 12")),
    bad("fail2ban_mcp_statuses", [], "Give status codes such as"),
    bad("fail2ban_mcp_ban_time_max", 3599, "(3600) to 2592000"),
    bad("fail2ban_mcp_ban_time_max", 2592001, "(3600) to 2592000"),
    bad("fail2ban_mcp_ignored", {"office": ["office.example.com"]}, "such as {office: ["),
    bad("fail2ban_mcp_unlimited_networks", ["office.example.com"], "give addresses or networks"),
    bad("hypercorn_service_request_concurrency", 0, "give a number from 1 on"),
    Case(role="hypercorn_service", given={"hypercorn_service_settings": {"keepalive_timeout": 5}},
         told=("hypercorn_service_settings has keepalive_timeout", "keep_alive_timeout")),
    Case(role="hypercorn_service", given={"hypercorn_service_settings": {"workers": 2}},
         told=("hypercorn_service_settings has workers", "the unit decides", "remove it")),
    *(Case(role="hypercorn_service", given=given,
           told=("hypercorn_service_stop_timeout is", f"calls may take {calls} s",
                 f"the app {app} s", "Give a longer stop_timeout"))
      for given, calls, app in (
          ({"hypercorn_service_stop_timeout": 80}, 60, 20),
          ({"hypercorn_service_settings": {"graceful_timeout": 75}}, 75, 20),
          ({"hypercorn_service_settings": {"shutdown_timeout": 60}}, 60, 60),
          ({"hypercorn_service_stop_timeout": 30, "mcp_edge_topology": "passthrough"}, 10, 20),
          ({"hypercorn_service_stream_grace": 61}, 60, 20),
      )),
    *(Case(role="hypercorn_service", given={"hypercorn_service_outbound": outbound},
           commands=asking(*servers),
           told=(f"hypercorn_service_outbound is {', '.join(outbound)}", ", ".join(servers),
                 "Have this host ask another name server, such as systemd-resolved"))
      for outbound, servers in (
          (["internet"], ["169.254.169.254"]),
          (["internet"], ["FE80::1", "169.254.169.253"]),
          (["10.0.0.7", "169.254.169.253"], ["169.254.169.254"]),
      )),
    Case(role="hypercorn_service",
         commands={"systemctl": "[ $1 != cat ] || exit 1; echo 'systemd 249 (249.11)'"},
         told=("systemd 249", "Use systemd 252 or later")),
    Case(role="hypercorn_service", given={"mcp_edge_topology": "passthrough"},
         commands={"ss": """echo 'tcp LISTEN 0 9 127.0.0.1:8443 *:* users:(("java",pid=7))'"""},
         told=("hypercorn_service_port is 8443", "java", "Stop that program")),
    Case(role="hypercorn_service", given={"hypercorn_service_name": "cron"},
         commands={"systemctl": "[ $1 = cat ] && echo '# /lib/cron.service' || echo systemd 257"},
         told=("hypercorn_service_name is cron", "cron.service", "another name")),
    Case(role="mcp_app", given={"mcp_app_name": "root"},
         told=("mcp_app_name is root", "root:x:0:0", "another name")),
    Case(role="mcp_app", given={"mcp_app_name": "notes-index"},
         told=("mcp_app_name is notes-index", "does not end in -index")),
    Case(role="mcp_app", given={"mcp_app_name": "n" * 27, "mcp_app_repositories": [MINE]},
         told=(f"mcp_app_name is {'n' * 27}", "26 characters at most")),
    Case(role="mcp_app", given={"mcp_app_name": "notes", "mcp_app_repositories": [MINE]},
         commands={"getent": "[ $2 != notes ] || exit 2; echo $2:x:7:7::/home/me:/bin/sh"},
         told=("mcp_app_name is notes", "an account notes-index", "/home/me", "another name")),
    *(repositories(items, *told) for items, *told in (
        (["name=mine url=hunter2"], "an item that is no dictionary", "give dictionaries"),
        ([MINE | {"brnach": "x"}, MINE | {"ref": "x"}],
         "has brnach: an item has a name, a url or a path, and may have a ref",
         "has mine, mine: give each item a name of its own"),
        ([MINE | {"name": "my.repo"}, {"url": MINE["url"]}, {"name": "x", "path": "/", "url": "x"},
          {"name": "y"}],
         "has my.repo, an item without a name: give each item a name of letters, digits, _ and -",
         "has y, x: give either a url, of a git repository, or a path, of a folder"),
        ([MINE | {"url": url, "name": f"n{i}"} for i, url in enumerate((
            "https://me:hunter2@example.com/x.git", "https://hunter2@example.com/x",
            "ext::sh -c id", "https://example.com/a b", "../mine", 'https://example.com/"',
            "--upload-pack=x:y"))],
         "has n0, n1, n2, n3, n4, n5, n6: give a url such as", "without a password"),
        ([MINE | {"url": "git@example.com:us/x"}, MINE | {"name": "x", "key": KEY},
          {"name": "y", "url": "ssh://git@example.com/y", "key": "/root/.ssh/hunter2"}],
         "has mine, x: an ssh url and a key go together",
         "has y: give as key the text of a private key"),
        ([{"name": "p1", "path": "src"}, {"name": "p2", "path": "/a b"},
          {"name": "p3", "path": "/a:/b"}, {"name": "p4", "path": "/", "ref": "main"},
          *(MINE | {"name": f"r{i}", "ref": x} for i, x in enumerate(("--x", "a:b", "", "a b")))],
         "has p1, p2, p3: give an absolute path", "has p4: a folder is indexed as it is",
         "has r0, r1, r2, r3: give as ref a branch, a tag or a commit"),
        ([{"name": "mine", "path": "/no/such/folder"}, {"name": "root", "path": "/"}],
         "no folder /no/such/folder.", "Make it first, or give another path"),
        ([MINE | {"schedule": "sometimes"}, MINE | {"name": "x", "schedule": "daily"}],
         "calendar specification 'sometimes'", "Give a schedule such as hourly"),
    )),
    Case(role="mcp_app", given={"mcp_app_repositories": [MINE], "mcp_app_index_command": []},
         told=("mcp_app_repositories", "give mcp_app_index_command the program")),
    bad("nginx_quic_stream_timeout", -5, "from 0 on"),
    Case(role="hypercorn_service", fit=False, told=("sysvinit", "Use systemd 252 or later")),
    bad("mcp_app_location", "/no/such/folder", "no such file or folder", "Give an existing one"),
    bad("mcp_app_lock", "/no/such.lock", "no such file or folder", "Make one with: uv pip compile"),
    bad("mcp_app_server_lock", "/no/such.lock", "no such file or folder", "Give an existing one"),
    Case(role="mcp_app", given={"mcp_app_settings": {"BANNER": "one\ntwo"}},
         told=("mcp_app_settings", "BANNER", "values of one line")),
    Case(role="mcp_app", given={"mcp_app_settings": {"1ST-KEY": "x"}},
         told=("mcp_app_settings", "1ST-KEY", "names of environment variables")),
    Case(role="mcp_app", given={"mcp_app_secrets": {"keys/api": "hunter2"}},
         told=("mcp_app_secrets", "keys/api", "takes names of letters, digits, _ and -")),
    # Whoever asks says which name it asked for: that of the endpoint keeps nobody out.
    *(Case(role="mcp_app", given={"mcp_edge_domain": domain, "mcp_app_auth": "none", **switch},
           told=(f"whoever reaches {domain} could call every tool",
                 "mcp_app_auth is none. Give owner",
                 "set mcp_app_allow_public_without_auth to true if the world may call it."))
      for domain, switch in (
          ("mcp.codeintel.dev", {}),
          ("mcp.codeintel.dev", {"mcp_app_allow_public_without_auth": "false"}),
          ("mcp.test", {}),
          ("mcp.localhost", {}),
          ("mcp.example.com", {}),
      )),
    # Of an app of somebody else's nobody knows how it is guarded, whatever is said about ours.
    *(Case(role="mcp_app", given={"mcp_edge_domain": domain, "mcp_app_base_settings": {}},
           told=(f"whoever reaches {domain}", "unless it guards itself",
                 "Set mcp_app_allow_public_without_auth to true if it does"))
      for domain in ("mcp.codeintel.dev", "mcp.test")),
    ways_in({"mcp_app_settings": {"CODEINTEL_AUTH": "none", "CODEINTEL_LOG_LEVEL": "INFO"}},
            "mcp_app_settings has CODEINTEL_AUTH: give mcp_app_auth"),
    # The app reads names of variables and of secrets without case.
    ways_in({"mcp_app_settings": {"codeintel_auth": "none", "CodeIntel_OIDC_issuer": "x"}},
            "mcp_app_settings has codeintel_auth, CodeIntel_OIDC_issuer: give mcp_app_auth"),
    ways_in({"mcp_app_secrets": {"codeintel_owner_password": "hunter2", "CODEINTEL_AUTH": "none"}},
            "mcp_app_secrets has codeintel_owner_password, CODEINTEL_AUTH: give",
            "mcp_app_owner_password"),
    ways_in({"mcp_app_auth": "oidc"},
            "mcp_app_oidc lacks issuer, client_id, client_secret, allowed: with mcp_app_auth oidc"),
    oidc({"allowed": [], "secret": "hunter2"},
         "has secret: give issuer, client_id", "mcp_app_oidc lacks allowed"),
    *(oidc({"issuer": issuer}, "has as issuer no https address: give")
      for issuer in ("http://login.example.com", "https://me:hunter2@example.com", ["x"])),
    oidc({"allowed": "me@example.com", "networks": ["10.0.0.7", "office"]},
         "has in allowed no list: give", "mcp_app_oidc has in networks office: give"),
    oidc({"allowed": ["x", 7], "networks": "x"},
         "has in allowed 7: give", "mcp_app_oidc has in networks no list: give"),
    Case(role="mcp_app", commands={"python3": "echo 3.10.12"},
         told=("mcp_app_python (python3) is 3.10.12", "Python 3.11 or later")),
    bad("mcp_app_python", "/no/such/python", "is not there", "Python 3.11 or later"),
    Case(role="nginx_quic", commands={"nginx": "echo nginx version: nginx/1.22.1 >&2"},
         told=("nginx/1.22.1", "built without http_v3_module", "Use Debian 13")),
    Case(role="nginx_quic",
         commands={"ss": """echo 'tcp LISTEN 0 511 *:80 *:* users:(("apache2",pid=7,fd=4))'"""},
         told=("Ports 80 and 443", "apache2", "Stop that program")),
    Case(role="nginx_quic", given={"nginx_quic_firewall": True},
         commands={"ss": "true", "systemctl": "true"},
         told=("nginx_quic_firewall", "no port of ssh", "[22/tcp]")),
    *(Case(role="nginx_quic", given={"nginx_quic_sni_backends": {name: backend}},
           told=("nginx_quic_sni_backends", f"{name}: {backend}", "give host names"))
      for name, backend in (("other.test", "9443"), ("other.test", "other.test:443"),
                            ("Other.test", "127.0.0.1:9443"), ("a.test", "127.0.0.1:1;"))),
]  # fmt: skip

FINE = [
    Case(role="certbot_webroot"),
    Case(role="fail2ban_mcp"),
    Case(role="fail2ban_mcp", given={"mcp_edge_topology": "passthrough", "fail2ban_mcp_ignored":
         {"office": ["192.0.2.0/24", "2001:db8::/48"], "none": []}}),
    Case(role="hypercorn_service"),
    Case(role="hypercorn_service", given={"mcp_edge_topology": "passthrough",
         "hypercorn_service_settings": {"ciphers": "ECDHE+AESGCM"}}),
    Case(role="hypercorn_service", given={"hypercorn_service_stop_timeout": 121,
         "hypercorn_service_settings": {"shutdown_timeout": 60}}),
    # The port is the instance's own.
    Case(role="hypercorn_service", given={"mcp_edge_topology": "passthrough"},
         commands={"ss": """echo 'tcp LISTEN 0 9 127.0.0.1:8443 *:* users:(("systemd",pid=1))'""",
                   "systemctl": """[ $1 = cat ] || { echo systemd 257; exit; }
                       printf '# by codeintel.mcp_edge\\nListenStream=[::1]:8443\\n'"""}),
    Case(role="nginx_quic", given={"mcp_edge_topology": "passthrough", "nginx_quic_sni_backends":
         {"a.test": "127.0.0.1:1", "*.b.test": "[::1]:2"}}),
    Case(role="mcp_app", given={**PUBLIC, "mcp_app_allow_public_without_auth": "true",
         "mcp_app_auth": "none", "mcp_app_keep_releases": "5"}),
    Case(role="mcp_app", given={**PUBLIC, "mcp_app_allow_public_without_auth": "true",
         "mcp_app_base_settings": {}}),
    Case(role="mcp_app", given=PUBLIC),
    Case(role="mcp_app",
         given={**PUBLIC, "mcp_app_outbound": ["internet", "10.0.0.0/8", "fd00::7"]}),
    Case(role="mcp_app",
         given={**PUBLIC, "mcp_app_auth": "tokens", "mcp_app_client_documents": "yes"}),
    Case(role="mcp_app", given={**PUBLIC, "mcp_app_owner_password": "hunter2 hunter2",
         "mcp_app_redirect_uris": ["https://client.example.com/callback?x=1",
                                   "com.example.app:/done", "zed://mcp/callback"]}),
    Case(role="mcp_app", given={**PUBLIC, "mcp_app_auth": "oidc", "mcp_app_oidc": OIDC | {
         "issuer": "https://[2001:db8::1]:8443/realms/mine/",
         "networks": ["10.0.0.7", "fd00::/8"]}}),
    # What is said about our app does not concern another one.
    Case(role="mcp_app", given={"mcp_app_base_settings": {}, "mcp_app_auth": "oidc",
         "mcp_app_allow_public_without_auth": True,
         "mcp_app_secrets": {"codeintel_owner_password": "x"},
         "mcp_app_settings": {"CODEINTEL_AUTH": "x"}}),
    Case(role="hypercorn_service", commands=asking("10.0.0.2"),
         given={"hypercorn_service_outbound": ["internet", "10.0.0.0/8", "fd00::7"]}),
    # Such resolvers are left out, unless they are asked for, and nobody asks them in a sandbox
    # without a network.
    Case(role="hypercorn_service", commands=asking("fe80::1", "192.0.2.53"),
         given={"hypercorn_service_outbound": ["internet"]}),
    Case(role="hypercorn_service", commands=asking("169.254.169.254"),
         given={"hypercorn_service_outbound": ["internet", "169.254.169.254"]}),
    Case(role="hypercorn_service", commands=asking("169.254.169.254")),
    Case(role="hypercorn_service", commands=asking(),
         given={"hypercorn_service_outbound": ["192.0.2.7"]}),
    Case(role="mcp_app", given={"mcp_app_repositories": [
         MINE, MINE | {"name": "a_b-C1", "ref": "release/1.x", "schedule": "Mon..Fri *-*-* 06:00"},
         {"name": "k1", "url": "git@example.com:us/x.git", "key": KEY},
         {"name": "k2", "url": "ssh://git@[2001:db8::1]:2222/x.git", "key": KEY, "ref": "v1"},
         {"name": "f", "url": "file:///srv/x.git"}, {"name": "p", "path": "/"}]}),
    Case(role="nginx_quic", given={"nginx_quic_name": "my-app", "nginx_quic_upstream": "[::1]:80"},
         commands={"ss": """echo 'tcp LISTEN 0 511 *:80 *:* users:(("nginx",pid=7,fd=4))'"""}),
]  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What became of a host: why it was refused, or nothing, and the number of its changes."""

    message: str
    changed: int


def hosts() -> dict[str, list[Case]]:
    """Give cases that the first check tells of a host in common, and each other one its own."""
    shared: list[list[Case]] = []
    for case in MALFORMED:
        for host in shared:
            alike = host[0].role == case.role
            if alike and not any(other.concerns() & case.concerns() for other in host):
                host.append(case)
                break
        else:
            shared.append([case])
    return {f"host{i}": host for i, host in enumerate(shared + [[c] for c in REFUSED + FINE])}


def write_commands(folder: Path, commands: Mapping[str, str]) -> None:
    folder.mkdir()
    for name, script in commands.items():
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)


@pytest.fixture(scope="session")
def outcomes(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Run the preflight of every case's role in one process; tell the outcome by the case."""
    folder = tmp_path_factory.mktemp("preflight")
    variables = {}
    for host, cases in hosts().items():
        write_commands(folder / host, {**COMMANDS, **cases[0].commands})
        given = {**GOOD, **{name: value for case in cases for name, value in case.given.items()}}
        variables[host] = {name: value for name, value in given.items() if value is not None}
        variables[host] |= {"role": cases[0].role, "commands": str(folder / host)}
    every_host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    groups = {
        "mcp_edge": {"hosts": variables, "vars": every_host},
        "unfit": {"hosts": {host: {} for host, cases in hosts().items() if not cases[0].fit}},
    }
    (folder / "inventory.json").write_text(json.dumps(groups), encoding="utf-8")
    (folder / "play.yml").write_text(PLAY, encoding="utf-8")
    messages = folder / "messages.json"
    arguments = ["--forks=2", f"--inventory={folder / 'inventory.json'}"]
    arguments += [f"--extra-vars=messages={messages}", str(folder / "play.yml")]
    run = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), *arguments],
        cwd=repository,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_PIPELINING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    told = json.loads(messages.read_text(encoding="utf-8"))
    changed = dict(re.findall(r"^(\S+) +: .* changed=(\d+) ", run.stdout, re.MULTILINE))
    return {
        str(case): Outcome(told[host], int(changed[host]))
        for host, cases in hosts().items()
        for case in cases
    }


@pytest.mark.parametrize("case", MALFORMED + REFUSED, ids=str)
def test_it_is_refused_unchanged_with_name_value_and_remedy(
    case: Case, outcomes: dict[str, Outcome]
) -> None:
    outcome = outcomes[str(case)]
    assert outcome.message.startswith("Nothing was changed.")
    assert outcome.changed == 0
    assert "hunter2" not in outcome.message
    # One line has all of it.
    lines = outcome.message.splitlines()
    assert any(all(words in line for words in case.told) for line in lines), outcome.message


@pytest.mark.parametrize("case", FINE, ids=str)
def test_it_is_let_through(case: Case, outcomes: dict[str, Outcome]) -> None:
    assert outcomes[str(case)] == Outcome(message="", changed=0)
