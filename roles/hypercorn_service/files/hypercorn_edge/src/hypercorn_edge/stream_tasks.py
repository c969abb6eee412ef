"""What one HTTP/3 stream needs of Hypercorn's task group, so that its failures stay its own."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.config import Config
from hypercorn.typing import AppWrapper, Scope

from .asgi import Message, Receive

WINDOW = 1024 * 1024  # bytes that a stream may have under way, in either direction
_OVERHEAD = 256  # bytes that a message in a queue takes besides its body
_DISCONNECTS = {"http.disconnect", "websocket.disconnect"}

Wait = Callable[[], Awaitable[None]]


class StreamTasks(TaskGroup):
    """Runs the app of one stream: counts what it leaves unread, and paces what it sends."""

    def __init__(self, group: TaskGroup, writable: Wait, announce: Wait) -> None:
        """Run tasks in `group`.

        `writable` waits until the client takes more; `announce` tells it that it may send more.
        """
        self._loop = group._loop
        self._group = group
        self._writable = writable
        self._announce = announce
        self._gone = False
        self.unread = 0  # bytes that wait for the app

    async def spawn_app(
        self,
        app: AppWrapper,
        config: Config,
        scope: Scope,
        send: Callable[[Any], Awaitable[None]],
    ) -> Callable[[Any], Awaitable[None]]:
        """Start the app; return what passes it messages, which never waits."""

        async def read(scope: Scope, receive: Receive, *others: Callable[..., object]) -> None:
            await cast(Callable[..., Awaitable[None]], app)(scope, self._counted(receive), *others)

        async def paced(message: Message | None) -> None:
            if message is not None:
                await self._writable()
                if self._gone:
                    await asyncio.sleep(0)  # an app that sends in a loop must not hold up others
            await send(message)

        put = await super().spawn_app(cast(AppWrapper, read), config, scope, cast(Any, paced))

        async def put_counted(message: Message) -> None:
            if message["type"] in _DISCONNECTS:
                self._gone = True
            self.unread += _cost(message)
            await put(cast(Any, message))

        return put_counted

    def spawn(self, func: Callable[..., Awaitable[None]], *args: object) -> None:
        """Start the app, or what accompanies it, such as pings."""
        self._group.spawn(_log_failure, func, *args)

    def _counted(self, receive: Receive) -> Receive:
        told: Message | None = None

        async def receive_counted() -> Message:
            nonlocal told
            if told is not None:
                await asyncio.sleep(0)
                return told
            message = await receive()  # what came before the end is given first
            if message["type"] in _DISCONNECTS:
                told = message
            full = self.unread >= WINDOW
            self.unread -= _cost(message)
            if full:
                await self._announce()
            return message

        return receive_counted


async def _log_failure(func: Callable[..., Awaitable[None]], *args: object) -> None:
    try:
        await func(*args)
    except Exception:
        # The app's own errors are logged before they come here.
        logging.getLogger("hypercorn.error").exception("The end of an HTTP/3 stream failed")


def _cost(message: Message) -> int:
    body = message.get("body") or message.get("bytes") or message.get("text") or b""
    return len(body) + _OVERHEAD
