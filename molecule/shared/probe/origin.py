"""Where the clients of the abuse tests connect to, under which name and from which address."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from aioquic.quic.configuration import QuicConfiguration

from probe import h3, web

# Some of these clients are hostile: they reach this machine and the lab, and nothing else.
NETS = [
    ipaddress.ip_network(net)
    for net in ("127.0.0.0/8", "::1/128", "10.203.0.0/16", "fd53:203::/32")
]
PATIENCE = 5  # seconds after which an answer is missing
OK = 200


class RefusedError(Exception):
    """The server answered, but not with what was asked for."""


@dataclass(frozen=True)
class Origin:
    """A server at a numeric address; ValueError if that is neither of this machine nor the lab's.

    source is the address to send from, and root the file of the certificate to trust.
    """

    address: str
    name: str = "echo.test"
    port: int = 443
    source: str | None = None
    root: str = h3.LAB_ROOT

    def __post_init__(self) -> None:
        """Refuse an address that is not ours to load."""
        if not any(ipaddress.ip_address(self.address) in net for net in NETS):
            nets = ", ".join(map(str, NETS))
            raise ValueError(f"{self.address} is not in {nets}: give --address one that is")

    @property
    def local(self) -> tuple[str, int] | None:
        """Where to bind to, if anywhere."""
        return (self.source, 0) if self.source else None

    def trust(self, *alpn: str) -> ssl.SSLContext:
        """Return TLS that offers these protocols."""
        context = ssl.create_default_context(cafile=self.root)
        context.set_alpn_protocols(alpn)
        return context

    def quic_configuration(self) -> QuicConfiguration:
        """Return QUIC that offers HTTP/3."""
        return QuicConfiguration(alpn_protocols=["h3"], server_name=self.name, cafile=self.root)

    def udp(self, port: int = 0) -> socket.socket:
        """Return a socket that is connected to the server, from this port of ours."""
        six = ":" in self.address
        udp = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind((self.source or ("::" if six else "0.0.0.0"), port))
            udp.connect((self.address, self.port))
        except OSError:
            udp.close()
            raise
        return udp

    def quic(self, *, http: bool = True) -> AbstractAsyncContextManager[h3.Connection]:
        """Connect over QUIC; see h3.connect."""
        return h3.connect(
            self.name,
            self.port,
            address=self.address,
            local=self.source,
            root=self.root,
            http=http,
            seconds=PATIENCE,
        )

    def session(self, protocol: str) -> AbstractAsyncContextManager[web.Session]:
        """Be a well-behaved client of that protocol; see web.session."""
        return web.session(
            protocol,
            self.name,
            self.port,
            address=self.address,
            local=self.source,
            root=self.root,
        )


def find(
    name: str,
    address: str | None = None,
    port: int = 443,
    source: str | None = None,
    root: str = h3.LAB_ROOT,
) -> Origin:
    """Look an origin up by its name, unless the address is given, in the family of the source."""
    family = socket.AF_UNSPEC
    if source:
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
    found = socket.getaddrinfo(address or name, port, family=family, type=socket.SOCK_STREAM)
    return Origin(str(found[0][4][0]), name, port, source, root)
