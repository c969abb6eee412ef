"""Who is on the other end of a connection."""

from ipaddress import IPv4Address, IPv6Address, ip_address

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.requests import HTTPConnection
from starlette.types import Scope

from codeintel.auth.store import digest

FORWARDING_HEADERS = ("x-forwarded-for", "x-forwarded-proto", "forwarded", "x-real-ip", "via")


def is_this_machine(connection: HTTPConnection) -> bool:
    """Say whether something on this machine asks, and not a proxy on it for somebody else.

    The server takes the client from what trusted proxies report; a unix socket has none. Where TLS
    reaches the application, even a remote client may appear as a local peer.
    """
    if connection.url.scheme != "http" or any(
        name in connection.headers for name in FORWARDING_HEADERS
    ):
        return False
    if connection.client is None:  # how servers report a unix socket
        return True
    address = _parse_address(connection.client.host)
    return address is not None and address.is_loopback


def is_from_edge(scope: Scope) -> bool:
    """Say whether a proxy, or somebody on this machine, asks over a unix socket.

    Such a peer has no address; where the server has put the one in that the proxy reports, its
    port is 0, as no proxy reports that.
    """
    client = scope.get("client")
    return client is None or client[1] == 0


def client_key(scope: Scope) -> str | None:
    """Return whom to count a request against; None for this machine, over a unix socket.

    That is the token where authentication has verified one, else the address. A token that merely
    stands in the request would be a new client with each made-up one, and so would be each of the
    2^64 addresses that IPv6 gives to one network. Of the token only a digest: where a shared store
    counts, it keeps the keys.
    """
    user = scope.get("user")
    if isinstance(user, AuthenticatedUser):
        return f"token {digest(user.access_token.token).hex()}"
    client = scope.get("client")
    if client is None:
        return None
    address = _parse_address(client[0])
    if isinstance(address, IPv6Address):
        return f"network {int(address) >> 64:x}"
    return f"address {address or client[0]}"


def network_key(scope: Scope) -> str | None:
    """Return whose neighbours may be the same somebody; None for this machine, as above.

    That is the /24 of IPv4 and the /48 of IPv6, which one site gets.
    """
    client = scope.get("client")
    if client is None:
        return None
    address = _parse_address(client[0])
    if address is None:
        return str(client[0])
    host_bits = 80 if isinstance(address, IPv6Address) else 8
    return f"IPv{address.version} {int(address) >> host_bits:x}"


def _parse_address(host: str) -> IPv4Address | IPv6Address | None:
    """Return an address, one of IPv4 also where IPv6 wraps it; None for what is no address."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
