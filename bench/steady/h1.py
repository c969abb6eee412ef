"""A connection of HTTP/1.1, over h11."""

from __future__ import annotations

import asyncio
from typing import cast

import h11

from steady.exchange import Exchange, FailedError, Request, UntakenError


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, authority: str) -> None:
        """Speak to who answers for this name and port."""
        self.heard = 0.0
        self.open = True
        self._authority = authority
        self._state = h11.Connection(h11.CLIENT)
        self._exchange: Exchange | None = None
        self._transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()

    @property
    def usable(self) -> bool:
        """Whether a request can be sent now."""
        return self.open and self._exchange is None

    def send(self, request: Request) -> Exchange:
        """Send a request; raises UntakenError where the one before was the last."""
        if not self.usable:
            raise UntakenError("the connection had ended")
        headers = [("host", self._authority), *request.headers]
        if request.body:
            headers.append(("content-length", str(len(request.body))))
        head = h11.Request(method=request.method, target=request.path, headers=headers)
        events = [head, h11.Data(data=request.body), h11.EndOfMessage()]
        self._transport.write(b"".join(self._state.send(event) or b"" for event in events))
        self._exchange = Exchange()
        return self._exchange

    def cancel(self, _exchange: Exchange) -> None:
        """Give up a request, which HTTP/1.1 can only by closing."""
        self.close()

    def retire(self) -> None:
        """Take no more requests, and close as soon as the one under way is over."""
        self.open = False
        if self._exchange is None:
            self.close()

    def close(self) -> None:
        """Close now."""
        self.open = False
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Sort what came."""
        self.heard = self._loop.time()
        if self._exchange is None:  # who speaks without being asked says goodbye, such as by 408
            self.close()
        else:
            self._receive(data)

    def eof_received(self) -> None:
        """Notice a close: the end of a body that has no length, or a failure."""
        self.open = False
        self._receive(b"")

    def connection_lost(self, error: Exception | None) -> None:
        """Notice the end."""
        self.open = False
        self._fail(f"the connection was closed: {error}" if error else "the connection was closed")

    def _receive(self, data: bytes) -> None:
        try:
            self._state.receive_data(data)
            while self._handle(self._state.next_event()):
                pass
        except h11.RemoteProtocolError as error:
            self._fail(str(error) if data else "the connection was closed")
            self.close()

    def _handle(self, event: object) -> bool:
        """Deal with an event; return whether there may be another one."""
        if isinstance(event, h11.Response) and self._exchange:
            headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
            self._exchange.answered(event.status_code, headers)
        elif isinstance(event, h11.Data) and self._exchange:
            self._exchange.piece(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage) and self._exchange:
            self._exchange.end()
            self._exchange = None
            if not self.open or self._state.our_state is not h11.DONE:
                self.close()  # the server said "Connection: close", or we are to leave
                return False
            self._state.start_next_cycle()
        return not (
            event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed)
        )

    def _fail(self, text: str) -> None:
        if self._exchange is not None:
            where = "within the answer" if self._exchange.status else "without an answer"
            self._exchange.fail(FailedError("broken", f"{text}, {where}"))
