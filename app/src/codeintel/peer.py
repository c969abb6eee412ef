"""Who is on the other end of a connection."""

from ipaddress import IPv6Address, ip_address

from starlette.requests import HTTPConnection

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
    try:
        address = ip_address(connection.client.host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback
