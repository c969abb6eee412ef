"""Clients that are known by the address of a document about them, which the server fetches."""

import asyncio
import logging

from fastmcp.server.auth.auth import PrivateKeyJWTClientAuthenticator
from fastmcp.server.auth.cimd import CIMDClientManager
from fastmcp.server.auth.oauth_proxy.models import ProxyDCRClient
from mcp.shared.auth import OAuthClientInformationFull
from starlette.exceptions import HTTPException
from starlette.requests import Request

SECONDS = 10
"""How long a document may take; FastMCP does not limit how long the head of an answer does."""

logger = logging.getLogger(__name__)


class Documents(CIMDClientManager):
    """FastMCP's, which fetches from public addresses only, follows nobody and reads 5 KiB at most.

    Whatever is wrong with a document, or slow, is no fault of the server.
    """

    async def get_client(self, client_id_url: str) -> ProxyDCRClient | None:
        """Return the client that the document describes; None if there is no such document."""
        try:
            async with asyncio.timeout(SECONDS):
                client: ProxyDCRClient | None = await super().get_client(client_id_url)
                return client
        except TimeoutError:
            logger.warning("no document within %s s: %s", SECONDS, client_id_url)
        except (ValueError, RecursionError) as error:  # the address, or what stands there
            logger.warning("no document at %s: %s", client_id_url, error)
        return None


class Authenticator(PrivateKeyJWTClientAuthenticator):
    """FastMCP's, for all clients. It takes one whose document cannot be had for an unknown one."""

    async def authenticate_request(self, request: Request) -> OAuthClientInformationFull:
        """Return the client. Raises AuthenticationError, or HTTPException with status 503."""
        name = str((await request.form()).get("client_id"))
        if self._cimd_manager.is_cimd_client_id(name) and not await self.provider.get_client(name):
            # Any other status would make the client forget its session.
            raise HTTPException(503, f"no document at {name[:200]} now", {"Retry-After": "60"})
        client: OAuthClientInformationFull = await super().authenticate_request(request)
        return client
