# Copyright: (c) 2026, codeintel.mcp_edge contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The endpoint that is checked, and HTTP clients for it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final, Literal

import httpx2
from ansible_collections.codeintel.mcp_edge.plugins.module_utils.h3_transport import H3Transport

Protocol = Literal["h1", "h2", "h3"]

VERSIONS: Final[dict[Protocol, str]] = {"h1": "HTTP/1.1", "h2": "HTTP/2", "h3": "HTTP/3"}


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where the checks connect to, and how."""

    url: str
    address: str | None = None
    ca_path: str | None = None
    timeout: float = 10.0
    bearer_token: str | None = None

    @property
    def host(self) -> str:
        """The name that the certificate must carry."""
        return httpx2.URL(self.url).raw_host.decode()

    @property
    def port(self) -> int:
        """The port, TCP's and UDP's."""
        return httpx2.URL(self.url).port or 443

    def tls(self) -> ssl.SSLContext:
        """Trust the CAs of ca_path, or else the system's."""
        return ssl.create_default_context(cafile=self.ca_path)

    def client(self, protocol: Protocol) -> httpx2.AsyncClient:
        """Return a client that accepts answers over one protocol only."""
        if protocol == "h3":
            return self.client_over(
                H3Transport(
                    ca_path=self.ca_path,
                    connect_to=(self.address, self.port) if self.address else None,
                )
            )
        return self.client_over(TcpTransport(self, (VERSIONS[protocol],)))

    def client_over(self, transport: httpx2.AsyncBaseTransport) -> httpx2.AsyncClient:
        """Return a client for the endpoint that sends its requests over a transport."""
        return httpx2.AsyncClient(
            base_url=self.url,
            transport=transport,
            # A little less than a check may take, so that the step that hangs is named.
            timeout=0.9 * self.timeout,
            headers=(
                {"Authorization": f"Bearer {self.bearer_token}"} if self.bearer_token else None
            ),
            # A proxy from the environment would be checked in the endpoint's place.
            trust_env=False,
        )


class TcpTransport(httpx2.AsyncHTTPTransport):
    """Send requests to the endpoint's address, and accept answers over given versions only."""

    def __init__(self, endpoint: Endpoint, versions: tuple[str, ...]) -> None:
        """Offer the versions, and HTTP/1.1, so that a server without them can be told of."""
        super().__init__(verify=endpoint.tls(), http2=VERSIONS["h2"] in versions, trust_env=False)
        self._address = endpoint.address
        self._versions = versions

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; its Host header and the name in TLS stay those of the URL."""
        response = await super().handle_async_request(self._addressed(request))
        version = response.extensions["http_version"].decode()
        if version not in self._versions:
            await response.aclose()
            raise httpx2.RemoteProtocolError(f"the server chose {version}")
        return response

    def _addressed(self, request: httpx2.Request) -> httpx2.Request:
        if self._address is None:
            return request
        return httpx2.Request(
            request.method,
            request.url.copy_with(host=self._address),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": request.url.raw_host.decode()},
        )
