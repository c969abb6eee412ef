"""Run an app and its sockets, some of which wait for their turn; in place of Hypercorn's worker."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from socket import AF_UNIX, socket
from ssl import SSLContext
from weakref import WeakSet

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.lifespan import Lifespan
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Sockets
from hypercorn.typing import LifespanState
from hypercorn.utils import repr_socket_addr

from .config import EdgeConfig
from .tcp import TCPServer
from .turns import Turns
from .udp import UDPServer

TCP, UDP = "tcp", "udp"
_LOOK = 0.02  # seconds


class Worker:
    """One process that serves `app` on TCP or unix sockets and, over QUIC, on UDP ones.

    `instance` is a unix socket of this process alone, which it serves from the start. Its folder
    is where instances take turns with what the configuration binds. Whoever has locked `gate`
    keeps this one from its turn.
    """

    def __init__(
        self, app: ASGIWrapper, config: EdgeConfig, instance: Path | None, gate: Path | None
    ) -> None:
        """Run within an event loop."""
        self._loop = asyncio.get_running_loop()
        self._app = app
        self._config = config
        self._instance = instance
        self._turns = Turns(instance.parent if instance else None, gate)
        self._context = WorkerContext(None)
        self._state = LifespanState()
        self._lifespan = Lifespan(app, config, self._loop, self._state)
        self._tls: SSLContext | None = None
        self._sockets = Sockets([], [], [])
        self._listeners: list[asyncio.Server] = []
        self._accepted: WeakSet[asyncio.BaseProtocol] = WeakSet()  # in their TLS handshake
        self._connections: set[asyncio.Task[None]] = set()
        self._quic: dict[asyncio.Task[None], UDPServer] = {}
        self.failed = self._context.terminate  # set when a listener has ended by an error

    async def start(self) -> None:
        """Start the app, and serve it on the socket of this instance.

        Raises LifespanFailureError or LifespanTimeoutError where the app does not start.
        """
        self._app_task = self._loop.create_task(self._lifespan.handle_lifespan())
        await self._lifespan.wait_for_startup()
        if self._app_task.done() and (error := self._app_task.exception()) is not None:
            raise error
        self._sockets = self._config.create_sockets()
        self._tls = self._config.create_ssl_context()
        if self._instance is not None:
            await self._listen(_bind(self._instance), None)

    def is_next(self) -> bool:
        """Say whether nothing else serves, so that `serve` will not wait."""
        return all(self._turns.try_take(kind) for kind in (TCP, UDP))

    async def serve(self) -> None:
        """Serve on each kind of socket as soon as it is our turn."""
        await asyncio.gather(self._serve_tcp(), self._serve_udp())

    async def _serve_tcp(self) -> None:
        await self._turns.take(TCP)
        for sock in self._sockets.secure_sockets:
            await self._listen(sock, self._tls)
        for sock in self._sockets.insecure_sockets:
            await self._listen(sock, None)

    async def _listen(self, sock: socket, tls: SSLContext | None) -> None:
        handshake = self._config.ssl_handshake_timeout if tls else None
        server = await self._loop.create_server(
            self._accept,
            sock=sock,
            backlog=self._config.backlog,
            ssl=tls,
            ssl_handshake_timeout=handshake,
        )
        self._listeners.append(server)
        await self._say(f"http{'s' if tls else ''}", sock)

    def _accept(self) -> asyncio.StreamReaderProtocol:
        reader = asyncio.StreamReader(loop=self._loop)
        protocol = asyncio.StreamReaderProtocol(reader, self._connected, self._loop)
        self._accepted.add(protocol)
        return protocol

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accepted.discard(writer.transport.get_protocol())
        connection = TCPServer(
            self._app, self._loop, self._config, self._context, self._state, reader, writer
        )
        task = self._loop.create_task(connection.run())
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve_udp(self) -> None:
        await self._turns.take(UDP)
        for sock in self._sockets.quic_sockets:
            _, server = await self._loop.create_datagram_endpoint(self._udp_server, sock=sock)
            self._quic[self._loop.create_task(server.run())] = server
            await self._say("QUIC", sock)

    def _udp_server(self) -> UDPServer:
        return UDPServer(self._app, self._loop, self._config, self._context, self._state)

    async def _say(self, what: str, sock: socket) -> None:
        address = repr_socket_addr(sock.family, sock.getsockname())
        await self._config.log.info("Running on %s, %s", address, what)

    async def stop(self) -> None:
        """Let the next instance serve, answer what has been asked, and end the app."""
        await self._context.terminated.set()
        for listener in self._listeners:
            listener.close()
        self._turns.pass_on(TCP)
        connections = self._loop.create_task(self._finish_connections())
        await self._finish(self._quic, self._config.graceful_timeout)
        for server in self._quic.values():
            server.end()
        self._turns.pass_on(UDP)
        await connections
        await self._lifespan.wait_for_shutdown()
        self._app_task.cancel()
        with suppress(asyncio.CancelledError):
            await self._app_task
        if self._instance is not None:
            self._instance.unlink(missing_ok=True)

    async def _finish_connections(self) -> None:
        # What was accepted may be in its TLS handshake yet, and nothing tells of one that fails.
        end = self._loop.time() + self._config.graceful_timeout
        while self._loop.time() < end and (self._accepted or self._connections):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK)
        await self._finish(self._connections, 0)

    async def _finish(self, tasks: Collection[asyncio.Task[None]], seconds: float) -> None:
        if not tasks:
            return
        _, late = await asyncio.wait(set(tasks), timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)


def _bind(path: Path) -> socket:
    """Return a listening unix socket; what an instance that was killed has left is no hindrance."""
    path.unlink(missing_ok=True)
    sock = socket(AF_UNIX)
    sock.bind(str(path))
    return sock
