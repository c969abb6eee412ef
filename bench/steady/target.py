"""The server that is asked, and how a connection to it comes about."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from steady import h1, h2, h3
from steady.exchange import Connection, FailedError

PROTOCOLS = ("h1", "h2", "h3")
ALPN = {"h1": "http/1.1", "h2": "h2"}
HTTPS = 443


@dataclass
class Target:
    """A URL, the address that it is asked at, and whom to trust (the system's roots if None)."""

    url: str
    address: str | None = None
    ca_file: str | None = None

    def __post_init__(self) -> None:
        """Look the address up once: names are not what is measured."""
        parts = urlsplit(self.url)
        if parts.scheme != "https" or not parts.hostname or parts.path.strip("/"):
            raise ValueError(f"{self.url} is not like https://mcp.example.com")
        self.name = parts.hostname
        self.port = parts.port or HTTPS
        self.authority = parts.netloc
        found = socket.getaddrinfo(self.address or self.name, self.port, type=socket.SOCK_STREAM)
        self.found = str(found[0][4][0])
        self._trust = {}
        for protocol, alpn in ALPN.items():
            context = ssl.create_default_context(cafile=self.ca_file)
            context.set_alpn_protocols([alpn])
            self._trust[protocol] = context

    async def connect(self, protocol: str) -> Connection:
        """Return a connection, or raise FailedError."""
        try:
            return await (self._quic() if protocol == "h3" else self._tcp(protocol))
        except OSError as error:  # TLS's errors too
            raise FailedError("connect", str(error) or repr(error)) from error

    async def _tcp(self, protocol: str) -> Connection:
        speaks = h1.Connection if protocol == "h1" else h2.Connection
        transport, connection = await asyncio.get_running_loop().create_connection(
            lambda: speaks(self.authority),
            self.found,
            self.port,
            ssl=self._trust[protocol],
            server_hostname=self.name,
        )
        chosen = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        # Who speaks HTTP/1.1 alone need not know of ALPN.
        if chosen != ALPN[protocol] and (protocol, chosen) != ("h1", None):
            transport.abort()
            raise FailedError("connect", f"the server does not speak {protocol}")
        return connection

    async def _quic(self) -> Connection:
        system = ssl.get_default_verify_paths()
        configuration = QuicConfiguration(
            alpn_protocols=H3_ALPN,
            server_name=self.name,
            cafile=self.ca_file or system.cafile,
        )
        family = socket.AF_INET6 if ":" in self.found else socket.AF_INET
        # A connected socket, as only that reports that the port is closed.
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.setblocking(False)
        udp.connect((self.found, self.port))
        _, connection = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: h3.Connection(QuicConnection(configuration=configuration), self.authority),
            sock=udp,
        )
        try:
            connection.connect((self.found, self.port))
            await connection.ready
        except BaseException:
            connection.close()
            raise
        return connection
