"""Mends for Hypercorn's HTTP/1.1."""

from h11 import DONE
from hypercorn.events import Updated
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Response
from hypercorn.protocol.h11 import H11Protocol as StockH11Protocol

_SUCCESS = 200


class H11Protocol(StockH11Protocol):
    """An HTTP/1.1 connection whose client learns of its end from a response.

    When stopping, Hypercorn closed each connection that was idle or whose response was over. What
    the client, a proxy for one, sent at that moment was lost, and only a request that may be sent
    twice can be sent again.
    """

    async def stream_send(self, event: StreamEvent) -> None:
        """Send what the app sends; a response that begins while the server stops is the last."""
        stopping = self.context.terminated.is_set()
        if stopping and isinstance(event, Response) and event.status_code >= _SUCCESS:
            headers = [*event.headers, (b"connection", b"close")]
            event = Response(event.stream_id, headers, event.status_code)
        await super().stream_send(event)

    async def _maybe_recycle(self) -> None:
        both_done = self.connection.our_state is DONE and self.connection.their_state is DONE
        if not (both_done and self.context.terminated.is_set()):
            await super()._maybe_recycle()
            return
        # The response had begun before the stop and did not say that it is the last one.
        await self._close_stream()
        self.connection.start_next_cycle()
        await self.can_read.set()
        await self.send(Updated(idle=True))
