"""HTTP/2, from Hypercorn's own server and from ours."""

import asyncio
import ssl
from collections import deque
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from h2.errors import ErrorCodes

from .edge_server import Server, serving

BOTH = pytest.mark.parametrize("kind", ["stock", "edge"])


class H2Client:
    """A connection that acknowledges no data unless it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.pending: deque[h2.events.Event] = deque()
        config = h2.config.H2Configuration(header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.flush()

    @classmethod
    async def connect(cls, server: Server) -> "H2Client":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        return cls(*await asyncio.open_connection(server.host, server.port, ssl=context))

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def begin(self, path: str, method: str = "GET", *, end: bool = True) -> int:
        stream_id = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "https"), (":authority", "a"), (":path", path)]
        self.h2.send_headers(stream_id, head, end_stream=end)
        self.flush()
        return stream_id

    async def until(
        self, kind: type[Any] | tuple[type[Any], ...], stream_id: int | None = None
    ) -> Any:
        """Return the next event of that kind, of that stream, and drop those before it."""
        while True:
            while self.pending:
                event = self.pending.popleft()
                if isinstance(event, kind) and stream_id in {None, getattr(event, "stream_id", 0)}:
                    return event
            data = await self.reader.read(65536)
            if not data:
                raise EOFError
            for event in self.h2.receive_data(data):
                self.pending.append(event)
                if isinstance(event, h2.events.DataReceived):
                    length = event.flow_controlled_length
                    self.h2.acknowledge_received_data(length, event.stream_id)
            self.flush()


@BOTH
def test_an_early_answer_harms_no_other_stream(tmp_path: Path, kind: str) -> None:
    """See https://github.com/pgjones/hypercorn/issues/161 and pull/365 ."""

    async def scenario(server: Server) -> None:
        async with asyncio.timeout(5):
            client = await H2Client.connect(server)
            other = client.begin("/events")
            await client.until(h2.events.ResponseReceived, other)
            upload = client.begin("/nowhere", "POST", end=False)
            await client.until(h2.events.StreamEnded, upload)
            client.h2.send_data(upload, b"x" * 1000, end_stream=True)
            client.flush()
            await client.until(h2.events.StreamEnded, client.begin("/"))
            await client.until(h2.events.DataReceived, other)

    with serving(tmp_path, kind) as server:
        if kind == "stock":
            with pytest.raises(EOFError):
                asyncio.run(scenario(server))
        else:
            asyncio.run(scenario(server))


@BOTH
def test_an_app_ends_when_a_client_that_did_not_read_has_gone(tmp_path: Path, kind: str) -> None:
    async def scenario(server: Server) -> bool:
        async with asyncio.timeout(10):
            client = await H2Client.connect(server)
            stream_id = client.begin("/large")
            await client.until(h2.events.ResponseReceived, stream_id)  # and reads no more
            other = await H2Client.connect(server)
            client.writer.transport.abort()
            for _ in range(20):
                await other.until(h2.events.DataReceived, other.begin("/live"))
                await asyncio.sleep(0.05)
        return True

    with serving(tmp_path, kind, graceful_timeout=3) as server:
        asyncio.run(scenario(server))
        stopped = server.stop()
        assert (stopped < 2) == (kind == "edge")  # a call that cannot end delays the stop


@BOTH
def test_the_last_response_ends_before_the_connection(tmp_path: Path, kind: str) -> None:
    async def scenario(server: Server) -> None:
        async with asyncio.timeout(10):
            client = await H2Client.connect(server)
            stream_id = client.begin("/call", "POST")
            await client.until(h2.events.ResponseReceived, stream_id)
            server.process.terminate()
            await client.until(h2.events.StreamEnded, stream_id)

    with serving(tmp_path, kind) as server:
        if kind == "stock":
            with pytest.raises(EOFError):
                asyncio.run(scenario(server))
        else:
            asyncio.run(scenario(server))


def test_an_idle_connection_is_told_that_it_ends(tmp_path: Path) -> None:
    async def scenario(server: Server) -> None:
        async with asyncio.timeout(5):
            client = await H2Client.connect(server)
            await client.until(h2.events.StreamEnded, client.begin("/"))
            server.process.terminate()
            await client.until(h2.events.ConnectionTerminated)

    with serving(tmp_path) as server:
        asyncio.run(scenario(server))


def test_a_request_during_the_drain_may_be_sent_again(tmp_path: Path) -> None:
    async def scenario(server: Server) -> None:
        async with asyncio.timeout(10):
            client = await H2Client.connect(server)
            slow = client.begin("/slow")
            ended = client.begin("/events")
            await client.until(h2.events.ResponseReceived, ended)
            server.process.terminate()
            await client.until(h2.events.StreamEnded, ended)
            over = (h2.events.StreamEnded, h2.events.StreamReset)
            last = None
            while not isinstance(last, h2.events.StreamReset):  # a moment after the streams' end
                last = await client.until(over, client.begin("/"))
            assert last.error_code == ErrorCodes.REFUSED_STREAM
            await client.until(h2.events.StreamEnded, slow)
            await client.until(h2.events.ConnectionTerminated)

    with serving(tmp_path) as server:
        asyncio.run(scenario(server))
