#!/usr/bin/python
# Copyright: (c) 2026, codeintel.mcp_edge contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: E402 - Ansible reads a module's documentation before its imports
"""Check an MCP server's public endpoint over HTTP/1.1, HTTP/2 and HTTP/3."""

from __future__ import annotations

DOCUMENTATION = r"""
module: endpoint_info
short_description: Check an MCP server's public endpoint over HTTP/1.1, HTTP/2 and HTTP/3
version_added: 0.1.0
author:
  - codeintel.mcp_edge contributors (@codeintel)
description:
  - Connects to an endpoint as its clients do, and reports what works.
  - It checks the certificate, an answer over each version of HTTP, the C(Alt-Svc) header by
    following it, whether server-sent events arrive as they are sent, and MCP with the official
    SDK's client, in each generation of the protocol and over HTTP/2 and HTTP/3.
  - A certificate with less than a third of its lifetime left fails its check. The role
    C(certbot_webroot) has it renewed a day before that.
  - A check that fails does not fail the module. Assert on RV(ok), or on the checks.
  - The checks take about as long as the event stream of O(sse_path) runs, and a few seconds.
requirements:
  - Python >= 3.11
  - aioquic
  - anyio
  - cryptography
  - httpx2[http2]
  - mcp >= 2.3
notes:
  - The collection's file C(requirements/endpoint_info.lock) holds versions of the requirements
    that work together, with hashes.
  - The checks run on the host that the task runs on. To see what a client on the Internet sees,
    delegate the task to a host outside.
attributes:
  check_mode:
    description: Can run in check_mode and return the same as without it, changing nothing.
    support: full
  diff_mode:
    description: Will return details on what has changed, or possibly needs changing, in diff_mode.
    support: N/A
    details: The module changes nothing.
options:
  url:
    description:
      - Scheme, host and, if it is not 443, port of the endpoint, such as V(https://mcp.example.com).
      - TCP and UDP are checked on the same port.
    type: str
    required: true
  address:
    description:
      - IPv4 or IPv6 address to connect to, in place of those that the host in O(url) resolves to.
      - The certificate must be for the host in O(url) nevertheless.
    type: str
  ca_path:
    description:
      - File of CA certificates, in PEM format, to trust in place of the system's.
    type: path
  health_path:
    description:
      - Path that answers C(200) to a C(GET) request.
    type: str
    default: /api/livez
  sse_path:
    description:
      - Path of a stream of server-sent events, with the seconds between two events as C(interval)
        and the number of events, if it is not 10, as C(count) in its query.
      - The empty string leaves out the checks of server-sent events.
    type: str
    default: /api/sse?interval=0.2&count=10
  sse_first_event_limit:
    description:
      - Seconds within which the first event must arrive, from the start of the connection on.
    type: float
    default: 1.0
  mcp_path:
    description:
      - Path of the MCP server.
      - The empty string leaves out the checks of MCP.
    type: str
    default: /mcp
  mcp_tool:
    description:
      - Name of a tool to call. Without it, none is called.
      - The tool is called once for each generation of MCP and each of HTTP/2 and HTTP/3.
      - Without it and without O(bearer_token), a server that wants a token passes if it tells
        clients how to get one.
    type: str
  mcp_arguments:
    description:
      - Arguments for the tool.
    type: dict
  mcp_generations:
    description:
      - Generations of MCP to check. V(2025-11-25) has sessions, V(2026-07-28) has none.
    type: list
    elements: str
    choices: ["2025-11-25", "2026-07-28"]
    default: ["2025-11-25", "2026-07-28"]
  protocols:
    description:
      - Versions of HTTP to check.
      - The certificate is always read over TCP. MCP is checked over V(h2) and V(h3).
        C(Alt-Svc) is checked if V(h3) and one of the others are in the list.
    type: list
    elements: str
    choices: [h1, h2, h3]
    default: [h1, h2, h3]
  timeout:
    description:
      - Seconds that each check may take. An event stream may take its own length on top.
    type: float
    default: 10.0
  bearer_token:
    description:
      - Token to send with every request, in the header C(Authorization) as C(Bearer).
    type: str
"""

EXAMPLES = r"""
- name: Check the endpoint from here
  codeintel.mcp_edge.endpoint_info:
    url: https://mcp.example.com
    mcp_tool: grep
    mcp_arguments:
      pattern: def main
  delegate_to: localhost
  register: endpoint

- name: Fail with one sentence for each check that failed
  ansible.builtin.assert:
    that: endpoint.ok
    fail_msg: "{{ endpoint.checks | rejectattr('ok') | map(attribute='message') | list }}"

- name: Check a server that has no public name yet and a certificate of its own CA
  codeintel.mcp_edge.endpoint_info:
    url: https://mcp.example.com
    address: "2001:db8::7"
    ca_path: /etc/ssl/private-ca.pem

- name: Check an app that is not an MCP server and sends no events
  codeintel.mcp_edge.endpoint_info:
    url: https://app.example.com
    health_path: /health
    sse_path: ""
    mcp_path: ""
"""

RETURN = r"""
ok:
  description: Whether all checks passed.
  returned: success
  type: bool
  sample: true
seconds:
  description: How long all checks took, in seconds.
  returned: success
  type: float
  sample: 3.21
checks:
  description: The checks, in the order in which they are best read.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description:
        - What was checked, such as V(certificate), V(h3.status), V(alt_svc), V(sse.h2.first_event),
          V(sse.h2.spacing), V(mcp.2025-11-25.h2.initialize), V(mcp.2026-07-28.h3.server_discover),
          V(mcp.2026-07-28.h3.tools_list) or V(mcp.2026-07-28.h3.tools_call).
        - V(mcp.2026-07-28.h3.authorization) in place of the last three, of a server that wants a
          token when none is given.
      returned: always
      type: str
      sample: h3.status
    ok:
      description: Whether the check passed.
      returned: always
      type: bool
      sample: true
    value:
      description:
        - What was seen, or null if nothing was.
        - For the certificate, a dictionary of C(issuer), C(subject), C(names), C(not_before) and
          C(not_after) (ISO 8601), C(days_left) and C(serial) (hexadecimal).
        - For a status, the number; for C(alt_svc), the header; for the first event, the seconds
          that it took; for the spacing, a dictionary of the number of C(events), and the median
          (C(p50)) and the longest (C(max)) gap between two, in seconds.
        - For MCP, a dictionary of the C(server)'s name, its C(version) and the C(protocol), then
          the list of the tools' names, then the beginning of the tool's answer. For authorization,
          a dictionary of the C(resource) and its C(authorization_servers).
      returned: always
      type: raw
      sample: 200
    seconds:
      description: How long the check took, in seconds, connecting included.
      returned: always
      type: float
      sample: 0.0213
    message:
      description: What was expected and what was seen instead, in one sentence.
      returned: when the check failed
      type: str
      sample: >-
        Expected status 200 from /api/livez over HTTP/3, saw ConnectError: 192.0.2.7 UDP port 443:
        [Errno 111] Connection refused.
"""

import asyncio
import importlib
import ipaddress
import logging
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

if TYPE_CHECKING:
    from ansible_collections.codeintel.mcp_edge.plugins.module_utils.checks import Check
    from ansible_collections.codeintel.mcp_edge.plugins.module_utils.endpoint import Protocol

MISSING = ""

try:
    from ansible_collections.codeintel.mcp_edge.plugins.module_utils.checks_http import (
        check_alt_svc,
        check_certificate,
        check_status,
    )
    from ansible_collections.codeintel.mcp_edge.plugins.module_utils.checks_mcp import (
        McpServer,
        check_mcp,
    )
    from ansible_collections.codeintel.mcp_edge.plugins.module_utils.checks_sse import (
        EventStream,
        check_sse,
    )
    from ansible_collections.codeintel.mcp_edge.plugins.module_utils.endpoint import Endpoint

    # What the libraries import in their first request would count as its time.
    for late in ("h2.connection", "httpcore2", "jsonschema.validators"):
        importlib.import_module(late)
except ImportError:
    MISSING = traceback.format_exc()

PROTOCOLS: list[Protocol] = ["h1", "h2", "h3"]
GENERATIONS = ["2025-11-25", "2026-07-28"]

ARGUMENTS: dict[str, dict[str, Any]] = {
    "url": {"type": "str", "required": True},
    "address": {"type": "str"},
    "ca_path": {"type": "path"},
    "health_path": {"type": "str", "default": "/api/livez"},
    "sse_path": {"type": "str", "default": "/api/sse?interval=0.2&count=10"},
    "sse_first_event_limit": {"type": "float", "default": 1.0},
    "mcp_path": {"type": "str", "default": "/mcp"},
    "mcp_tool": {"type": "str"},
    "mcp_arguments": {"type": "dict"},
    "mcp_generations": {
        "type": "list",
        "elements": "str",
        "choices": GENERATIONS,
        "default": GENERATIONS,
    },
    "protocols": {"type": "list", "elements": "str", "choices": PROTOCOLS, "default": PROTOCOLS},
    "timeout": {"type": "float", "default": 10.0},
    "bearer_token": {"type": "str", "no_log": True},
}


def main() -> None:
    """Run the checks that the arguments ask for."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        required_by={"mcp_arguments": ["mcp_tool"]},
    )
    if MISSING:
        module.fail_json(
            msg=missing_required_lib(
                "aioquic, cryptography, httpx2[http2] or mcp",
                reason="to speak HTTP/3 and MCP (see requirements/endpoint_info.lock)",
            ),
            exception=MISSING,
        )
    # The SDK logs what fails, which is in the checks; without a handler it goes to stderr.
    logging.getLogger().addHandler(logging.NullHandler())
    started = time.perf_counter()
    try:
        validate(module.params)
        checks = asyncio.run(run(module.params))
    except ValueError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(
        changed=False,
        ok=all(check.ok for check in checks),
        seconds=round(time.perf_counter() - started, 4),
        checks=[check.as_dict() for check in checks],
    )


def validate(params: dict[str, Any]) -> None:
    """Refuse what the argument spec cannot."""
    url = urlsplit(params["url"])
    if url.scheme != "https" or not url.hostname or url.path.strip("/") or url.query:
        raise ValueError(f"url must be https://host or https://host:port, not {params['url']!r}")
    if params["address"]:
        ipaddress.ip_address(params["address"])
    if params["ca_path"] and not Path(params["ca_path"]).is_file():
        raise ValueError(f"ca_path must be a file, and {params['ca_path']!r} is none")
    if params["timeout"] <= 0:
        raise ValueError(f"timeout must be above 0 seconds, not {params['timeout']}")
    for path in ("health_path", "sse_path", "mcp_path"):
        if params[path] and not params[path].startswith("/"):
            raise ValueError(f"{path} must begin with a slash, not {params[path]!r}")


async def run(params: dict[str, Any]) -> list[Check]:
    """Run all checks; the event streams are read together, as they are mostly waiting."""
    endpoint = Endpoint(
        url=params["url"].rstrip("/"),
        address=params["address"],
        ca_path=params["ca_path"],
        timeout=params["timeout"],
        bearer_token=params["bearer_token"],
    )
    protocols = [protocol for protocol in PROTOCOLS if protocol in params["protocols"]]
    checks = [await check_certificate(endpoint)]
    checks += [await check_status(endpoint, each, params["health_path"]) for each in protocols]
    if "h3" in protocols and len(protocols) > 1:
        checks.append(await check_alt_svc(endpoint, params["health_path"]))
    if params["sse_path"]:
        stream = EventStream.from_path(params["sse_path"], params["sse_first_event_limit"])
        for pair in await asyncio.gather(*(check_sse(endpoint, p, stream) for p in protocols)):
            checks += pair
    if params["mcp_path"]:
        server = McpServer(
            path=params["mcp_path"], tool=params["mcp_tool"], arguments=params["mcp_arguments"]
        )
        for generation in params["mcp_generations"]:
            for protocol in protocols:
                if protocol != "h1":
                    checks += await check_mcp(endpoint, protocol, generation, server)
    return checks


if __name__ == "__main__":
    main()
