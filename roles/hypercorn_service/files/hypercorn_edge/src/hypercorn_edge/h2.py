"""Mends for Hypercorn's HTTP/2."""

import asyncio
from contextlib import suppress
from typing import Any

from h2.errors import ErrorCodes
from h2.events import Event as H2Event
from h2.events import RequestReceived
from h2.exceptions import ProtocolError
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import EndBody, EndData
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h2 import H2Protocol as StockH2Protocol

from .config import EdgeConfig


class _Gone:
    """Stands for a stream that has been answered already and takes what still comes for it."""

    idle = True

    async def handle(self, event: StreamEvent) -> None:
        pass


class _Streams(dict[int, Any]):
    """The open streams. Asked for another one, it gives one that ignores all."""

    def __missing__(self, stream_id: int) -> _Gone:
        return _Gone()


class H2Protocol(StockH2Protocol):
    """An HTTP/2 connection that outlives early answers and stops without losing an end.

    - Data for a stream that has been answered raised a KeyError, which ended all streams of
      the connection. (https://github.com/pgjones/hypercorn/issues/161, issues/197, pull/365)
    - When stopping, GOAWAY overtook END_STREAM, so that the last response was cut off.
    - An app that waited for a client's window waited for ever once the client had gone.
    - A request that comes too late is refused as one that may be sent again elsewhere.
    - Requests that are cancelled as quickly as they come end the connection.
    """

    config: EdgeConfig

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401
        """Take what Hypercorn passes."""
        super().__init__(*arguments)
        self.streams = _Streams()
        self._sent: dict[int, asyncio.Event] = {}

    async def handle(self, event: Event) -> None:
        """Handle bytes from the client, or the end of the connection."""
        if isinstance(event, Closed):
            for stream_id in list(self.stream_buffers):
                await self.stream_buffers[stream_id].close()
            for sent in self._sent.values():
                sent.set()
        if isinstance(event, RawData) and self.config.floods(self.client, 0, "2"):
            await self._calm_down()  # without a look at what may be hundreds of requests
            return
        await super().handle(event)

    async def _calm_down(self) -> None:
        with suppress(ProtocolError):
            self.connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
        await self._flush()
        await self.handle(Closed())
        await self.send(Closed())

    async def go_away(self) -> None:
        """Say that the connection ends. Not to be called while something is being sent."""
        with suppress(ProtocolError):  # it has been said
            self.connection.close_connection()
        await self._flush()

    async def stream_send(self, event: StreamEvent) -> None:
        """Send what the app sends; return from its end when that has been sent."""
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            return  # graceful_timeout is over, and the task that sends has ended as well
        if event.stream_id not in self.stream_buffers:
            await asyncio.sleep(0)  # an app that sends in a loop must not hold up the others
        await super().stream_send(event)
        if isinstance(event, EndBody | EndData) and event.stream_id in self.stream_buffers:
            sent = self._sent[event.stream_id] = asyncio.Event()
            if not self.closed:
                await sent.wait()
            del self._sent[event.stream_id]

    async def _send_data(self, stream_id: int) -> None:
        await super()._send_data(stream_id)
        if stream_id in self._sent and stream_id not in self.stream_buffers:
            self._sent[stream_id].set()

    async def _handle_events(self, events: list[H2Event]) -> None:
        if self.context.terminated.is_set():
            for event in events:
                if isinstance(event, RequestReceived):
                    self.connection.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
            events = [event for event in events if not isinstance(event, RequestReceived)]
        requests = sum(isinstance(event, RequestReceived) for event in events)
        if self.config.floods(self.client, requests, "2"):
            await self._calm_down()
            return
        await super()._handle_events(events)
