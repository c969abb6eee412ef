# Copyright: (c) 2026, codeintel.mcp_edge contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Checks of an MCP server with the official SDK's client."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import anyio
import httpx2
from ansible_collections.codeintel.mcp_edge.plugins.module_utils.checks import (
    Check,
    CheckFailed,
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


@dataclass(frozen=True, kw_only=True)
class McpServer:
    """The MCP server's path and, if one is to be called, a tool."""

    path: str
    tool: str | None = None
    arguments: dict[str, Any] | None = None


async def check_mcp(
    endpoint: Endpoint, protocol: Protocol, generation: Generation, server: McpServer
) -> list[Check]:
    """Let a client connect, list the tools and call one; after a failure the rest is not tried."""
    steps = _steps(generation, server)
    prefix = f"mcp.{generation}.{protocol}"
    where = f"from {server.path} in MCP {generation} over {VERSIONS[protocol]}"
    checks: list[Check] = []
    refusals: list[int] = []
    started = time.perf_counter()

    async def note_refusal(response: httpx2.Response) -> None:
        """Keep the status, which the SDK's errors do not tell."""
        if response.is_error:
            refusals.append(response.status_code)

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
            error = CheckFailed(f"status {refusals[0]} ({describe(error)})")
        for name in list(steps)[len(checks) :]:
            checks.append(failed(f"{prefix}.{name}", f"an answer {where}", error, started))
            error, started = CheckFailed(f"that {name} failed"), time.perf_counter()
    return checks


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
