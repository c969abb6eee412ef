"""One face for HTTP/1.1, HTTP/2 and HTTP/3: ask once, or follow a stream to its end."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Protocol

import httpx2

from probe import h3

PROTOCOLS = ("h1", "h2", "h3")
VERSIONS = {"h1": "HTTP/1.1", "h2": "HTTP/2"}


class Session(Protocol):
    """A client with its connections."""

    async def ask(
        self, method: str, path: str, body: bytes = b"", seconds: float = 5
    ) -> tuple[int, bytes]:
        """Return status and body of the whole answer, or raise what was wrong with it."""

    def follow(self, path: str) -> AsyncIterator[bytes]:
        """Give what comes as it comes; an end that is not clean raises."""


class Tcp:
    """HTTP/1.1 or 2. h11 and h2 raise where the last chunk or the end of the stream is missing."""

    def __init__(self, client: httpx2.AsyncClient, version: str, host: str) -> None:
        """Speak this version, or fail, with who shows a certificate for this host."""
        self._client = client
        self._version = version
        self._extensions = {"sni_hostname": host}

    async def ask(
        self, method: str, path: str, body: bytes = b"", seconds: float = 5
    ) -> tuple[int, bytes]:
        answer = await self._client.request(
            method, path, content=body, timeout=seconds, extensions=self._extensions
        )
        assert answer.http_version == self._version, answer.http_version
        return answer.status_code, answer.content

    async def follow(self, path: str) -> AsyncIterator[bytes]:
        patience = httpx2.Timeout(10, read=None)
        request = self._client.stream("GET", path, timeout=patience, extensions=self._extensions)
        async with request as answer:
            assert answer.http_version == self._version, answer.http_version
            async for piece in answer.aiter_bytes():
                yield piece


class Quic:
    """HTTP/3 on one connection."""

    def __init__(self, connection: h3.Connection) -> None:
        """Speak on this connection."""
        self.connection = connection

    async def ask(
        self, method: str, path: str, body: bytes = b"", seconds: float = 5
    ) -> tuple[int, bytes]:
        answer = await self.connection.ask(method, path, body=body, seconds=seconds)
        return answer.status, answer.body

    async def follow(self, path: str) -> AsyncIterator[bytes]:
        answer = self.connection.open("GET", path)
        try:
            while pieces := await answer.read(3600):
                for _, piece in pieces:
                    yield piece
        except h3.BrokenError:
            if answer.lost != h3.GOODBYE:
                raise


@contextlib.asynccontextmanager
async def session(  # noqa: PLR0913 - what a session may differ in
    protocol: str,
    host: str = "echo.test",
    port: int = 443,
    *,
    address: str | None = None,
    local: str | None = None,
    root: str | None = h3.LAB_ROOT,
) -> AsyncIterator[Session]:
    """Be a client of that protocol.

    An address says where on TCP or UDP the host is looked for, and local from which address.
    """
    if protocol == "h3":
        async with h3.connect(host, port, address=address, local=local, root=root) as connection:
            yield Quic(connection)
        return
    trust = ssl.create_default_context(cafile=root)
    if root is None:
        trust.check_hostname = False
        trust.verify_mode = ssl.CERT_NONE
    name = f"[{address}]" if address and ":" in address else address or host
    transport = httpx2.AsyncHTTPTransport(
        verify=trust, http1=protocol == "h1", http2=protocol == "h2", local_address=local
    )
    async with httpx2.AsyncClient(
        base_url=f"https://{name}:{port}",
        headers=dict([("host", host), h3.USER_AGENT]),
        transport=transport,
        trust_env=False,
    ) as client:
        yield Tcp(client, VERSIONS[protocol], host)
