"""Mends for Hypercorn's TCP connections."""

import asyncio

from hypercorn.asyncio.tcp_server import TCPServer as StockTCPServer

from .h2 import H2Protocol
from .h11 import H11Protocol

_FLUSH = 0.5  # seconds
_LINGER = 2  # seconds, longer than nginx keeps an idle connection to us


class TCPServer(StockTCPServer):
    """One TCP connection, of HTTP/1.1 or HTTP/2.

    - Hypercorn gathers all connections when it stops; the first error of one ended the wait for
      the requests of the others.
    - Closing TLS waited 30 s for clients that do not answer, whatever graceful_timeout says.
    - An idle connection of HTTP/1.1 was closed when the server stopped, also if a request was on
      its way. It is left to its client for a moment, who is told with the next response.
    """

    async def run(self) -> None:
        """Serve until the connection is closed."""
        try:
            await super().run()
        except asyncio.CancelledError:
            pass  # graceful_timeout is over; asyncio would write a traceback
        except Exception as error:
            await self.config.log.error("A connection failed: %r", _innermost(error))

    async def _idle_timeout(self) -> None:
        try:
            async with asyncio.timeout(self.config.keep_alive_timeout):
                await self.context.terminated.wait()
        except TimeoutError:
            pass
        else:
            if isinstance(self.protocol.protocol, H11Protocol):
                await asyncio.sleep(_LINGER)
        await asyncio.shield(self._initiate_server_close())

    async def _initiate_server_close(self) -> None:
        self.loop.call_later(_FLUSH, self._abort_if_flushed)
        if isinstance(self.protocol.protocol, H2Protocol):
            await self.protocol.protocol.go_away()
        await super()._initiate_server_close()

    async def _close(self) -> None:
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # graceful_timeout is over
            self.writer.transport.abort()
        else:
            self.loop.call_later(_FLUSH, self._abort_if_flushed)
        await super()._close()

    def _abort_if_flushed(self) -> None:
        if self.writer.transport.get_write_buffer_size() == 0:
            self.writer.transport.abort()


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
