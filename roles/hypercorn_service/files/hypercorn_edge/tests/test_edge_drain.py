"""A stop loses nothing and keeps nobody waiting."""

import asyncio
import signal
import ssl
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx2
import pytest
import websockets
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import ErrorCode, FrameType, encode_frame

from .edge_client import Client, ResetError, h3
from .edge_server import Server, serving, wait_for

Report = tuple[str, float]  # how a client's stream ended, and when


def insecure() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def tcp_client(server: Server, *, http2: bool) -> httpx2.AsyncClient:
    base = f"https://{server.host}:{server.port}"
    return httpx2.AsyncClient(
        verify=insecure(), http1=not http2, http2=http2, base_url=base, timeout=20
    )


async def tcp_stream(
    server: Server, started: asyncio.Semaphore, *, http2: bool, path: str, method: str = "GET"
) -> Report:
    """Read a stream to its end. An end that is not clean raises."""
    async with tcp_client(server, http2=http2) as client, client.stream(method, path) as response:
        started.release()
        last = ""
        async for line in response.aiter_lines():
            last = line or last
    return last, time.monotonic()


async def h3_stream(
    server: Server, started: asyncio.Semaphore, path: str, method: str = "GET"
) -> Report:
    async with h3(server.host, server.port) as client:
        stream_id = client.begin(path, method, end=True)
        await client.head(stream_id)
        started.release()
        body = await client.body(stream_id)
        ended = time.monotonic()
        assert await client.terminated == ErrorCode.H3_NO_ERROR
        return body.decode().split("\n")[-3], ended


def test_fifty_streams_and_a_call(tmp_path: Path) -> None:
    async def scenario(server: Server) -> tuple[list[Report], list[Report], float, float]:
        started = asyncio.Semaphore(0)
        async with asyncio.TaskGroup() as clients:  # one that fails ends the wait for the others

            def start(work: Coroutine[Any, Any, Report]) -> asyncio.Task[Report]:
                return clients.create_task(work)

            streams, calls = [], []
            for _ in range(17):
                streams.append(start(tcp_stream(server, started, http2=False, path="/events")))
                streams.append(start(tcp_stream(server, started, http2=True, path="/events")))
            streams += [start(h3_stream(server, started, "/events")) for _ in range(16)]
            for _ in range(50):
                await started.acquire()
            for http2 in (False, True):
                work = tcp_stream(server, started, http2=http2, path="/call", method="POST")
                calls.append(start(work))
            calls.append(start(h3_stream(server, started, "/call", "POST")))
            slow = [
                start(tcp_stream(server, started, http2=True, path="/slow")),
                start(h3_slow(server)),
            ]
            for _ in range(3):
                await started.acquire()
            async with h3(server.host, server.port) as other:
                while (await other.json("/live"))["slow"] < len(slow):
                    pass
            begin = time.monotonic()
            server.process.terminate()
        assert [task.result()[0] for task in slow] == ["done"] * 2
        await asyncio.to_thread(server.process.wait, 10)
        reports = [task.result() for task in streams], [task.result() for task in calls]
        return *reports, begin, time.monotonic()

    async def h3_slow(server: Server) -> Report:
        async with h3(server.host, server.port) as client:
            return (await client.fetch("/slow"))[1].decode(), time.monotonic()

    with serving(tmp_path) as server:
        streams, calls, begin, end = asyncio.run(scenario(server))
        assert all(last.startswith("data: ") for last, _ in streams)
        assert max(when for _, when in streams) - begin < 2
        assert [last for last, _ in calls] == ["data: end"] * 3
        assert end - begin < 5
        assert server.process.returncode == 0
        assert "lifespan ended" in server.output()
        assert "Traceback" not in server.output()


@pytest.mark.parametrize("protocol", ["h1", "h2", "h3", "none"])
def test_idle_connections_do_not_delay(tmp_path: Path, protocol: str) -> None:
    async def scenario(server: Server) -> float:
        if protocol == "h3":
            async with h3(server.host, server.port) as client:
                await client.fetch("/")
                seconds = await asyncio.to_thread(server.stop)
                assert await client.terminated == ErrorCode.H3_NO_ERROR
                return seconds
        async with tcp_client(server, http2=protocol == "h2") as client:
            if protocol != "none":
                await client.get("/")
            return await asyncio.to_thread(server.stop)

    with serving(tmp_path) as server:
        assert asyncio.run(scenario(server)) < (3 if protocol == "h1" else 1)


def test_stock_waits_for_a_datagram(tmp_path: Path) -> None:
    with serving(tmp_path, "stock", graceful_timeout=2) as server:
        assert server.stop() > 1.9


def test_an_idle_client_of_http3_is_told_which_requests_were_seen(tmp_path: Path) -> None:
    """Without that it would not know of one that is on its way whether it may send it again."""

    async def scenario(server: Server) -> None:
        async with h3(server.host, server.port) as client:
            await client.fetch("/")
            await client.ping()  # it has confirmed the answer too: there is nothing to wait for
            server.process.terminate()
            assert await client.terminated == ErrorCode.H3_NO_ERROR
            assert client.control.endswith(encode_frame(FrameType.GOAWAY, encode_uint_var(4)))

    with serving(tmp_path) as server:
        asyncio.run(scenario(server))


def test_a_client_of_http3_that_has_gone_does_not_delay(tmp_path: Path) -> None:
    async def scenario(server: Server) -> float:
        async with h3(server.host, server.port) as client:
            await client.fetch("/")
            await client.ping()  # it has confirmed the answer too
            client.mute = True
            seconds = await asyncio.to_thread(server.stop)
            client.mute = False  # it could not leave otherwise
            return seconds

    with serving(tmp_path) as server:
        assert asyncio.run(scenario(server)) < 2


def test_new_requests_are_refused_on_http3(tmp_path: Path) -> None:
    async def scenario(server: Server) -> None:
        async with asyncio.timeout(10), h3(server.host, server.port) as client:
            slow = client.begin("/late", end=True)
            await client.fetch("/")
            server.process.terminate()
            await no_answer(client)
            await client.head(slow)
            assert await client.body(slow) == b"0"
            assert await client.terminated == ErrorCode.H3_NO_ERROR

    async def no_answer(client: Client) -> None:
        """Ask until a request is refused."""
        with pytest.raises(ResetError, match=str(int(ErrorCode.H3_REQUEST_REJECTED))):
            while True:
                await client.fetch("/")

    with serving(tmp_path) as server:
        asyncio.run(scenario(server))


def test_streams_that_begin_while_draining_end_at_once(tmp_path: Path) -> None:
    """A slow app has read its request before the stop, and begins a stream after it."""

    async def scenario(server: Server) -> bytes:
        async with asyncio.timeout(10), h3(server.host, server.port) as client:
            late = client.begin("/begins-late", end=True)
            await client.fetch("/")
            server.process.terminate()
            assert (await client.head(late))[":status"] == "200"
            return await client.body(late)

    with serving(tmp_path) as server:
        assert asyncio.run(scenario(server)) == b""
        server.process.wait(2)


def test_streams_are_begun_anew(tmp_path: Path) -> None:
    """A signal ends those of now, and no later ones."""

    async def scenario(server: Server) -> None:
        async with asyncio.timeout(10), h3(server.host, server.port) as client:
            first = client.begin("/events", end=True)
            await client.head(first)
            server.process.send_signal(signal.SIGUSR1)
            assert (await client.body(first)).startswith(b"data: 0")
            second = client.begin("/events", end=True)
            await client.head(second)
            for _ in range(5):
                assert not (await client.next(second)).stream_ended

    with serving(tmp_path) as server:
        asyncio.run(scenario(server))


def test_what_takes_too_long_is_cut(tmp_path: Path) -> None:
    async def scenario(server: Server) -> None:
        async with asyncio.timeout(10), h3(server.host, server.port) as client:
            client.begin("/slow", end=True)
            await client.fetch("/")
            begin = time.monotonic()
            server.process.terminate()
            assert await client.terminated == ErrorCode.H3_NO_ERROR
            assert 0.9 < time.monotonic() - begin < 2

    with serving(tmp_path, graceful_timeout=1) as server:
        asyncio.run(scenario(server))
        server.process.wait(2)
        assert "lifespan ended" in server.output()


def test_what_takes_too_long_on_tcp_is_cut_quietly(tmp_path: Path) -> None:
    async def scenario(server: Server) -> None:
        async with tcp_client(server, http2=True) as client:
            asyncio.get_running_loop().call_later(0.3, server.process.terminate)
            with pytest.raises(httpx2.TransportError):
                await client.get("/slow")

    with serving(tmp_path, graceful_timeout=1) as server:
        asyncio.run(scenario(server))
        server.process.wait(2)
        assert "lifespan ended" in server.output()
        assert "Traceback" not in server.output()


async def over_tcp(server: Server) -> int:
    uri = f"wss://{server.host}:{server.port}/"
    async with websockets.connect(uri, ssl=insecure()) as client:
        await client.send("hi")
        assert await client.recv() == "hi"
        server.process.terminate()
        await client.wait_closed()
        return client.close_code or 0


async def over_h3(server: Server) -> int:
    head = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"https")]
    head += [(b":authority", b"a"), (b":path", b"/"), (b"sec-websocket-version", b"13")]
    async with h3(server.host, server.port) as client:
        stream_id = client.begin_raw(head)
        await client.head(stream_id)
        server.process.terminate()
        frame = await client.body(stream_id)
        return int.from_bytes(frame[2:4])


@pytest.mark.parametrize("connect", [over_tcp, over_h3])
def test_websockets_are_closed(
    tmp_path: Path, connect: Callable[[Server], Coroutine[Any, Any, int]]
) -> None:
    with serving(tmp_path) as server:
        assert asyncio.run(connect(server)) == 1012
        assert wait_for(lambda: server.process.poll() is not None, 2)
