"""One run: load, the command in its midst, and load again."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Sequence

from steady.load import Pace, drive
from steady.plan import Plan
from steady.prepare import Ready, prepare
from steady.record import Log
from steady.streams import keep

KILL_AFTER = 5  # seconds that a command has to end once it is told to
OVERDUE, MISSING, FORBIDDEN = 124, 127, 126  # what timeout and a shell exit with
SIGNALLED = 128

Action = Callable[[float], Awaitable[int]]
"""What is done to the host, for so many seconds at most; returns an exit status."""


def command(words: Sequence[str]) -> Action:
    """Return the action of running a command."""

    async def action(seconds: float) -> int:
        try:
            process = await asyncio.create_subprocess_exec(*words)
        except OSError as error:
            print(f"{words[0]}: {error.strerror}", file=sys.stderr)
            return MISSING if isinstance(error, FileNotFoundError) else FORBIDDEN
        try:
            async with asyncio.timeout(seconds):
                status = await process.wait()
                return status if status >= 0 else SIGNALLED - status
        except TimeoutError:
            print(f"{words[0]}: ended after {seconds:.0f} s", file=sys.stderr)
            return OVERDUE
        finally:
            if process.returncode is None:
                process.terminate()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(KILL_AFTER):
                        await process.wait()
            if process.returncode is None:
                process.kill()

    return action


async def run(plan: Plan, action: Action | None = None) -> tuple[Log, int | None]:
    """Return what was seen, and the action's status; raises NotReadyError.

    Without an action the load lasts for what is otherwise before and after it.
    """
    ready = await prepare(plan)
    try:
        return await _run(plan, action, ready)
    finally:
        await ready.end(plan.patience)


async def _run(plan: Plan, action: Action | None, ready: Ready) -> tuple[Log, int | None]:
    loop = asyncio.get_running_loop()
    log = Log(begin=loop.time(), skipped=list(ready.skipped))
    status = None
    stop = asyncio.Event()
    kinds = len({lane.kind for lane in ready.lanes})
    pace = Pace(plan.rate, min(1, plan.fresh / plan.rate / kinds), plan.patience)
    async with asyncio.TaskGroup() as group:
        streams = [
            group.create_task(keep(source, protocol, slot, pool, log))
            for protocol, source, pool in ready.sources
            for slot in range(plan.streams)
        ]
        for number, lane in enumerate(ready.lanes):
            group.create_task(drive(lane, pace, number / len(ready.lanes), log, stop))
        await asyncio.sleep(plan.before)
        if action is not None:
            log.command_begin = loop.time()
            status = await action(plan.most - plan.before - plan.after)
            log.command_end = loop.time()
        await asyncio.sleep(plan.after)
        stop.set()
        log.end = loop.time()
        for task in streams:
            task.cancel()
    log.sessions_renewed = sum(client.renewed for client in ready.clients.values())
    return log, status
