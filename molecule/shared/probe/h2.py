"""HTTP/2 over the library h2, for clients that never open a window again, and worse."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings

from probe import h3
from probe.origin import OK, PATIENCE, Origin, RefusedError

Headers = list[tuple[str, str]]
OVER = (h2.events.StreamEnded, h2.events.StreamReset, h2.events.ConnectionTerminated)


def head(origin: Origin, path: str) -> Headers:
    """Return the fields of a request."""
    return [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", origin.name),
        (":path", path),
        h3.USER_AGENT,
    ]


class Connection:
    """One connection, whose windows stay as they were at its beginning."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, window: int | None
    ) -> None:
        """Say hello, and that each stream may send so many bytes; None stands for the default."""
        self.reader = reader
        self.writer = writer
        self.state = h2.connection.H2Connection(h2.config.H2Configuration())
        if window is not None:
            codes = h2.settings.SettingCodes
            self.state.local_settings = h2.settings.Settings(
                client=True,
                initial_values={codes.ENABLE_PUSH: 0, codes.INITIAL_WINDOW_SIZE: window},
            )
        self.state.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Send what is to be sent."""
        self.writer.write(self.state.data_to_send())

    def open(self, headers: Headers) -> int:
        """Send a request without a body with the next flush; return its stream."""
        stream_id = self.state.get_next_available_stream_id()
        self.state.send_headers(stream_id, headers, end_stream=True)
        return stream_id

    def reset(self, stream_id: int) -> None:
        """Cancel a request with the next flush."""
        self.state.reset_stream(stream_id, h2.errors.ErrorCodes.CANCEL)

    async def events(self) -> list[h2.events.Event]:
        """Return what comes next; EOFError where the server has closed the connection."""
        data = await self.reader.read(65536)
        if not data:
            raise EOFError("closed by the server")
        events = self.state.receive_data(data)
        self.flush()
        return events


@contextlib.asynccontextmanager
async def connect(origin: Origin, window: int | None = None) -> AsyncIterator[Connection]:
    """Connect, and wait for the server's settings."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(
            origin.address,
            origin.port,
            ssl=origin.trust("h2"),
            server_hostname=origin.name,
            local_addr=origin.local,
        )
    try:
        connection = Connection(reader, writer, window)
        async with asyncio.timeout(PATIENCE):
            while not any(
                isinstance(event, h2.events.RemoteSettingsChanged)
                for event in await connection.events()
            ):
                pass
        yield connection
    finally:
        writer.transport.abort()


async def answered(connection: Connection, stream_id: int) -> None:
    """Wait for the head of a good answer."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for event in await connection.events():
                if isinstance(event, h2.events.ResponseReceived) and event.stream_id == stream_id:
                    status = int(dict(event.headers or [])[b":status"])
                    if status != OK:
                        raise RefusedError(f"status {status}")
                    return
                if isinstance(event, OVER):
                    raise RefusedError(repr(event))


async def over(connection: Connection, *, requests: bool = True) -> None:
    """Wait until the server ends the connection, or, if requests matter, one of those."""
    kinds = OVER if requests else h2.events.ConnectionTerminated
    while not any(isinstance(event, kinds) for event in await connection.events()):
        pass
