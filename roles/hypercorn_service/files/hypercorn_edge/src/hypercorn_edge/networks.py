"""The address by which a client counts."""

from ipaddress import IPv6Network


def network_of(address: str) -> str:
    """Return an IPv4 address as it is, and of an IPv6 address the /64, all of which one may use."""
    if ":" not in address:
        return address
    return str(IPv6Network((address.partition("%")[0], 64), strict=False))
