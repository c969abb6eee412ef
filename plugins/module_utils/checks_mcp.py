# Copyright: (c) 2026, codeintel.mcp_edge contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks of an MCP server with the official SDK's client."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import anyio
import httpx2
from ansible_collections.codeintel.mcp_edge.plugins.module_utils.checks import (
    Check,
    CheckFailed,
    attempt,
    describe,
    failed,
    passed,
    root_cause,
)
from ansible_collections.codeintel.mcp_edge.plugins.module_utils.endpoint import (
    VERSIONS,
    Endpoint,
    Protocol,
)
from mcp.client.session import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp_types import TextContent

Generation = Literal["2025-11-25", "2026-07-28"]
Step = Callable[[ClientSession], Awaitable[object]]

SESSION_ERA: Generation = "2025-11-25"
ANSWER_LIMIT = 200  # characters of a tool's answer that a table can show
UNAUTHORIZED = 401
# RFC 9728: where a client that is refused learns how to get a token.
RESOURCE_METADATA = re.compile(r'^Bearer\b.*\bresource_metadata="(?P<url>[^"]+)"', re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class McpServer:
    """The MCP server's path and, if one is to be called, a tool."""

    path: str
    tool: str | None = None
    arguments: dict[str, Any] | None = None


async def check_mcp(
    endpoint: Endpoint, protocol: Protocol, generation: Generation, server: McpServer
) -> list[Check]:
    """Let a client connect, list the tools and call one; after a failure the rest is not tried.

    A server that wants a token, of a client that has none and is to call no tool, is asked how one
    is got instead.
    """
    steps = _steps(generation, server)
    prefix = f"mcp.{generation}.{protocol}"
    where = f"from {server.path} in MCP {generation} over {VERSIONS[protocol]}"
    checks: list[Check] = []
    refusals: list[httpx2.Response] = []
    started = time.perf_counter()

    async def note_refusal(response: httpx2.Response) -> None:
        """Keep what the SDK's errors do not tell."""
        if response.is_error:
            refusals.append(response)

    try:
        async with endpoint.client(protocol) as client:
            client.event_hooks = {"response": [note_refusal]}
            async with (
                streamable_http_client(endpoint.url + server.path, http_client=client) as streams,
                ClientSession(*streams) as session,
            ):
                for name, step in steps.items():
                    started = time.perf_counter()
                    refusals.clear()
                    with anyio.fail_after(endpoint.timeout):
                        value = await step(session)
                    checks.append(passed(f"{prefix}.{name}", value, started))
    except Exception as exc:
        # An error in a request arrives here, not in its step: the SDK's task group cancels that.
        error = root_cause(exc)
        if refusals and not isinstance(error, CheckFailed):
            challenge = _challenge(refusals[0])
            if challenge and not checks and not endpoint.bearer_token and not server.tool:
                name = f"{prefix}.authorization"
                return [await _check_authorization(endpoint, protocol, server, name, challenge)]
            error = CheckFailed(f"status {refusals[0].status_code} ({describe(error)})")
        for name in list(steps)[len(checks) :]:
            checks.append(failed(f"{prefix}.{name}", f"an answer {where}", error, started))
            error, started = CheckFailed(f"that {name} failed"), time.perf_counter()
    return checks


def _challenge(response: httpx2.Response) -> str | None:
    """Return where the answer says that its reader learns how to get a token."""
    found = RESOURCE_METADATA.search(response.headers.get("www-authenticate", ""))
    return found["url"] if found and response.status_code == UNAUTHORIZED else None


async def _check_authorization(
    endpoint: Endpoint, protocol: Protocol, server: McpServer, name: str, metadata: str
) -> Check:
    """Check that what a client reads before its owner logs in fits together."""
    resource = endpoint.url + server.path

    async def check() -> dict[str, Any]:
        async with endpoint.client(protocol) as client:
            about = await _document(client, endpoint, metadata)
            issuers = about.get("authorization_servers") or []
            value = {"resource": about.get("resource"), "authorization_servers": issuers}
            if value["resource"] != resource:
                raise CheckFailed(f"that {metadata} is about {value['resource']}", value)
            if not issuers:
                raise CheckFailed(f"that {metadata} names no authorization server", value)
            issuer = str(issuers[0])
            # One of somebody else's is not the endpoint's to answer for.
            if issuer.rstrip("/") == endpoint.url:
                where = f"{endpoint.url}/.well-known/oauth-authorization-server"
                told = await _document(client, endpoint, where)
                if str(told.get("issuer")).rstrip("/") != endpoint.url:
                    raise CheckFailed(f"that {where} is about {told.get('issuer')}", value)
        return value

    expected = f"to be told how to get a token for {resource} over {VERSIONS[protocol]}"
    return await attempt(name, expected, endpoint.timeout, check)


async def _document(client: httpx2.AsyncClient, endpoint: Endpoint, url: str) -> dict[str, Any]:
    if not url.startswith(f"{endpoint.url}/"):
        raise CheckFailed(f"that the metadata is at {url}")
    response = await client.get(url)
    if response.is_error:
        raise CheckFailed(f"status {response.status_code} from {url}")
    document = response.json()
    if not isinstance(document, dict):
        raise CheckFailed(f"no object at {url}")
    return document


def _steps(generation: Generation, server: McpServer) -> dict[str, Step]:
    async def initialize(session: ClientSession) -> dict[str, Any]:
        await session.initialize()
        return _introduction(session, generation)

    async def server_discover(session: ClientSession) -> dict[str, Any]:
        await session.discover()
        return _introduction(session, generation)

    async def tools_list(session: ClientSession) -> list[str]:
        return [tool.name for tool in (await session.list_tools()).tools]

    async def tools_call(session: ClientSession) -> str:
        result = await session.call_tool(server.tool or "", server.arguments)
        texts = [part.text for part in result.content if isinstance(part, TextContent)]
        answer = "\n".join(texts) or json.dumps(result.structured_content)
        if len(answer) > ANSWER_LIMIT:
            answer = answer[: ANSWER_LIMIT - 1] + "…"
        if result.is_error:
            raise CheckFailed(f"an error of the tool {server.tool}: {answer}", answer)
        return answer

    steps: dict[str, Step] = {}
    if generation == SESSION_ERA:
        steps["initialize"] = initialize
    else:
        steps["server_discover"] = server_discover
    steps["tools_list"] = tools_list
    if server.tool:
        steps["tools_call"] = tools_call
    return steps


def _introduction(session: ClientSession, generation: Generation) -> dict[str, Any]:
    info = session.server_info
    value = {
        "server": info.name if info else None,
        "version": info.version if info else None,
        "protocol": session.protocol_version,
    }
    if session.protocol_version != generation:
        raise CheckFailed(f"the protocol {session.protocol_version}", value)
    return value
