"""Two instances on the same sockets: the second serves when the first one stops or dies."""

import asyncio
import fcntl
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from aioquic.h3.connection import ErrorCode
from hypercorn_edge.turns import Turns

from .edge_client import h3
from .edge_server import Server, serving, wait_for
from .test_edge_drain import insecure, tcp_client


@contextmanager
def pair(folder: Path, *, unix: bool) -> Iterator[tuple[Server, Server]]:
    """Run an instance that serves, and one that is ready beside it."""
    folders = [folder / "1", folder / "2"]
    for each in folders:
        each.mkdir()
    one, two = folder / "one", folder / "two"
    with (
        serving(folders[0], unix=unix, instance=one) as old,
        serving(folders[1], unix=unix, instance=two, beside=old, wait=False) as new,
    ):
        assert wait_for(lambda: new.output().count("Running on") == 1, 20), new.output()
        yield old, new


async def pid_of(path: Path) -> int:
    transport = httpx2.AsyncHTTPTransport(uds=str(path))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return int((await client.get("/pid")).text)


def test_an_instance_answers_before_it_serves(tmp_path: Path) -> None:
    async def scenario(old: Server, new: Server) -> None:
        assert await pid_of(old.path) == old.process.pid
        assert await pid_of(tmp_path / "two") == new.process.pid
        assert [await pid_of(old.path) for _ in range(20)] == [old.process.pid] * 20
        old.process.terminate()
        assert await pid_of(old.path) == new.process.pid
        assert await asyncio.to_thread(old.process.wait, 5) == 0
        assert not (tmp_path / "one").exists()

    with pair(tmp_path, unix=True) as (old, new):
        asyncio.run(scenario(old, new))


def test_a_killed_one_is_replaced(tmp_path: Path) -> None:
    with pair(tmp_path, unix=True) as (old, new):
        old.process.kill()
        assert asyncio.run(pid_of(old.path)) == new.process.pid


def test_one_that_is_kept_off_waits_though_nobody_serves(tmp_path: Path) -> None:
    """Whoever proves it has locked the folder of its configuration until it is proven."""

    async def is_answered(path: Path) -> bool:
        try:
            async with asyncio.timeout(1):
                await pid_of(path)
        except TimeoutError:
            return False
        return True

    with pair(tmp_path, unix=True) as (old, new):
        gate = os.open(new.folder, os.O_RDONLY)
        fcntl.flock(gate, fcntl.LOCK_EX)
        old.process.kill()
        assert not asyncio.run(is_answered(old.path))
        assert asyncio.run(is_answered(tmp_path / "two"))
        os.close(gate)
        assert asyncio.run(pid_of(old.path)) == new.process.pid


def test_a_turn_is_passed_on_while_a_forked_child_lives(tmp_path: Path) -> None:
    """An app may fork; the child has the descriptor of the lock, too."""
    one, two = Turns(tmp_path), Turns(tmp_path)
    assert one.try_take("tcp")
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        assert not two.try_take("tcp")
        one.pass_on("tcp")
        assert two.try_take("tcp")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


class Proxy:
    """Asks as nginx does: on a connection that is idle, if there is one, and never twice."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self) -> int:
        """Return the number of the process that answered; raises where none did."""
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_unix_connection(str(self._path))
        writer.write(b"POST /pid HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert head.startswith("http/1.1 200"), head
        body = b""
        while not body.endswith(b"0\r\n\r\n"):
            body += await reader.readuntil(b"\r\n")
        if "connection: close" in head:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(body.split(b"\r\n")[1])


async def ask_for(seconds: float, ask: Callable[[], Awaitable[int]]) -> list[int]:
    """Ask again and again."""
    answers = []
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        answers.append(await ask())
    return answers


def test_a_proxy_loses_no_request(tmp_path: Path) -> None:
    """Eight at a time, none of which may be sent twice, on connections that are kept."""

    async def scenario(old: Server, new: Server) -> None:
        proxy = Proxy(old.path)
        asking = [asyncio.create_task(ask_for(3, proxy.post)) for _ in range(8)]
        await asyncio.sleep(0.5)
        old.process.terminate()
        for answers in await asyncio.gather(*asking):
            assert set(answers) == {old.process.pid, new.process.pid}
            assert answers == sorted(answers, key=[old.process.pid, new.process.pid].index)

    with pair(tmp_path, unix=True) as (old, new):
        asyncio.run(scenario(old, new))


async def stop_listening(server: Server) -> None:
    """Stop the server, and wait until it accepts no more."""
    server.process.terminate()
    with pytest.raises(OSError):
        while True:
            _, writer = await asyncio.open_connection(server.host, server.port)
            writer.close()


def test_a_request_on_an_idle_connection_just_after_the_stop(tmp_path: Path) -> None:
    async def scenario(server: Server) -> None:
        async with tcp_client(server, http2=False) as client:
            await client.get("/")
            await stop_listening(server)
            assert (await client.get("/pid")).headers["connection"] == "close"

    with serving(tmp_path) as server:
        asyncio.run(scenario(server))


def test_handshakes_that_end_after_the_stop(tmp_path: Path) -> None:
    """At once, or as slow clients do it; one of them ends when all before it are answered."""

    async def ask(
        seconds: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await asyncio.sleep(seconds)
        await writer.start_tls(insecure())
        writer.write(b"GET /pid HTTP/1.1\r\nhost: a\r\n\r\n")
        assert b"connection: close" in (await reader.readuntil(b"\r\n\r\n")).lower()

    async def scenario(server: Server) -> None:
        accepted = [await asyncio.open_connection(server.host, server.port) for _ in range(3)]
        await stop_listening(server)
        late = zip((0, 1.5, 4), accepted, strict=True)
        await asyncio.gather(*(ask(seconds, *connection) for seconds, connection in late))

    with serving(tmp_path) as server:
        asyncio.run(scenario(server))


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_handshake_that_failed_is_not_waited_for(tmp_path: Path, said: bytes) -> None:
    with serving(tmp_path) as server:
        with socket.create_connection((server.host, server.port)) as client:
            client.sendall(said)
            client.shutdown(socket.SHUT_WR)
            client.settimeout(5)
            while client.recv(100):
                pass
        assert server.stop() < 1


def test_a_handshake_that_never_ends_is_cut(tmp_path: Path) -> None:
    with (
        serving(tmp_path, graceful_timeout=1) as server,
        socket.create_connection((server.host, server.port)),
    ):
        assert 0.9 < server.stop() < 2


@pytest.mark.parametrize("kind", ["h1", "h2"])
def test_tls_is_passed_on_at_once(tmp_path: Path, kind: str) -> None:
    """While a call of 3 s goes on, both new connections and it are answered."""

    async def scenario(old: Server, new: Server) -> None:
        async with tcp_client(old, http2=kind == "h2") as client:
            call = asyncio.create_task(client.get("/slow"))
            while (await client.get("/live")).json()["slow"] == 0:
                pass
            old.process.terminate()
            async with asyncio.timeout(1):
                pid = ""
                while pid != str(new.process.pid):
                    async with tcp_client(old, http2=kind == "h2") as other:
                        pid = (await other.get("/pid")).text
            assert not call.done()
            assert (await call).text == "done"

    with pair(tmp_path, unix=False) as (old, new):
        asyncio.run(scenario(old, new))


def test_quic_is_passed_on_when_its_calls_are_answered(tmp_path: Path) -> None:
    async def scenario(old: Server, new: Server) -> None:
        async with tcp_client(old, http2=True) as tcp, h3(old.host, old.port) as client:
            slow = asyncio.create_task(tcp.get("/slow"))  # keeps the process there
            call = client.begin("/late", end=True)  # of 1 s
            while (await client.json("/live"))["slow"] == 0:
                pass
            old.process.terminate()
            await client.head(call)
            assert await client.body(call) == b"0"
            assert await client.terminated == ErrorCode.H3_NO_ERROR
            for _ in range(10):
                async with h3(old.host, old.port, 0.5) as other:
                    assert int((await other.fetch("/pid"))[1]) == new.process.pid
            assert not slow.done()
            await slow

    with pair(tmp_path, unix=False) as (old, new):
        asyncio.run(scenario(old, new))


def test_streams_go_on_for_a_while(tmp_path: Path) -> None:
    async def scenario(old: Server) -> float:
        reader, writer = await asyncio.open_unix_connection(str(old.path))
        writer.write(b"GET /events HTTP/1.1\r\nhost: a\r\n\r\n")
        await reader.readuntil(b"data: 0")
        begin = asyncio.get_running_loop().time()
        old.process.terminate()
        rest = await reader.readuntil(b"\r\n0\r\n\r\n")
        assert rest.count(b"data:") > 5
        writer.close()
        return asyncio.get_running_loop().time() - begin

    with serving(tmp_path, unix=True, edge={"stream_grace": 1}) as old:
        assert 0.9 < asyncio.run(scenario(old)) < 1.9


def test_a_socket_of_one_that_was_killed_is_no_hindrance(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "one"))
    left.close()
    with serving(tmp_path, unix=True, instance=tmp_path / "one", wait=False) as server:
        assert wait_for(lambda: server.output().count("Running on") == 2, 20)
        assert asyncio.run(pid_of(tmp_path / "one")) == server.process.pid
