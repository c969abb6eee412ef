"""The look at the server before the load: what is there is asked for, and what is not is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from steady.exchange import Connection, FailedError, Request, UntakenError
from steady.kinds import Get, Mcp, Tool, good
from steady.load import Lane
from steady.plan import Plan
from steady.pool import Pool
from steady.record import GET, SESSION_ERA, STATELESS, Sample
from steady.streams import Source

HARMLESS = "status"  # a tool of this name that calls itself read-only may be called unasked


class NotReadyError(Exception):
    """The server is not as the caller says, and the text tells how."""


@dataclass
class Ready:
    """What is to be asked for, and what is left out."""

    lanes: list[Lane] = field(default_factory=list)
    sources: list[tuple[str, Source, Pool]] = field(default_factory=list)  # with the protocol
    clients: dict[str, Mcp] = field(default_factory=dict)  # by protocol
    pools: list[Pool] = field(default_factory=list)
    skipped: dict[str, None] = field(default_factory=dict)

    async def end(self, patience: float) -> None:
        """End the sessions of MCP, and close all."""
        for lane in self.lanes:
            if lane.kind == SESSION_ERA:
                try:
                    async with asyncio.timeout(patience):
                        connection = await lane.pool.take()
                        await self.clients[lane.protocol].end(connection)
                except (FailedError, UntakenError, TimeoutError):
                    pass  # it ends by itself when it has been idle for long enough
        for pool in self.pools:
            pool.close()


async def prepare(plan: Plan) -> Ready:
    """Ask for each thing once over each protocol; raises NotReadyError."""
    ready = Ready()
    for protocol in plan.protocols:
        connect = partial(plan.target.connect, protocol)
        try:
            async with asyncio.timeout(plan.patience):
                first = await connect()
        except (FailedError, TimeoutError) as error:
            raise NotReadyError(
                f"no connection over {protocol} (--protocols leaves it out): "
                f"{error or f'none within {plan.patience:g} s'}"
            ) from error
        first.close()
        await _prepare(plan, protocol, ready)
    return ready


async def _prepare(plan: Plan, protocol: str, ready: Ready) -> None:
    connect = partial(plan.target.connect, protocol)

    def pool() -> Pool:
        ready.pools.append(Pool(connect, shared=protocol != "h1"))
        return ready.pools[-1]

    kept = pool()
    get = Get(plan.path, plan.headers)
    if problem := await _problem(plan, kept, partial(get.ask, _sample=Sample(protocol, GET, 0))):
        raise NotReadyError(f"GET {plan.path} over {protocol}: {problem}")
    ready.lanes.append(Lane(protocol, GET, get.ask, kept, connect))

    if plan.mcp_path:
        client = ready.clients[protocol] = Mcp(plan.mcp_path, plan.headers, plan.tool)
        asks = {STATELESS: client.stateless, SESSION_ERA: client.in_session}
        for generation, ask in asks.items():
            kept = pool()
            if problem := await _problem(plan, kept, partial(_try, client, generation)):
                what = f"tools/call of {generation}"
                if plan.tool:
                    raise NotReadyError(f"{what} over {protocol}: {problem}")
                ready.skipped[f"{what}: {problem}"] = None
            else:
                ready.lanes.append(Lane(protocol, generation, ask, kept, connect))

    if plan.sse_path and plan.streams:
        source = Source(plan.sse_path, plan.headers, plan.silence, plan.patience)
        kept = pool()
        if problem := await _problem(plan, kept, partial(_peek, source)):
            ready.skipped[f"event streams from {plan.sse_path}: {problem}"] = None
        else:
            ready.sources.append((protocol, source, kept))


async def _problem(plan: Plan, pool: Pool, step: Callable[[Connection], Awaitable[None]]) -> str:
    """Try something on a connection; return what is wrong, or nothing."""
    try:
        async with asyncio.timeout(plan.patience):
            connection = await pool.take()
            await step(connection)
    except (FailedError, UntakenError) as error:
        return str(error)
    except TimeoutError:
        return f"no answer within {plan.patience:g} s"
    return ""


async def _try(client: Mcp, generation: str, connection: Connection) -> None:
    """Call the tool once, having found one."""
    offered = await client.tools(connection, generation)
    if client.tool is None:
        if not any(
            tool.get("name") == HARMLESS and (tool.get("annotations") or {}).get("readOnlyHint")
            for tool in offered
        ):
            raise FailedError("tool", f"no read-only tool is named {HARMLESS} (--tool names one)")
        client.tool = Tool(HARMLESS, {})
    await client.call(connection, generation)


async def _peek(source: Source, connection: Connection) -> None:
    """See that there are event streams."""
    headers = (*source.headers, ("accept", "text/event-stream"))
    exchange = connection.send(Request("GET", source.path, headers))
    try:
        await exchange.head()
        good(exchange)
        if not exchange.headers.get("content-type", "").startswith("text/event-stream"):
            raise FailedError("answer", "not an event stream")
    finally:
        if not exchange.over:
            connection.cancel(exchange)
