"""Restore the client's address and scheme from what proxies on this machine report."""

from ipaddress import IPv6Address, ip_address

from .asgi import App, Headers, Receive, Scope, Send, header_values

_SECURE = {"http": "https", "https": "https", "ws": "wss", "wss": "wss"}
_PLAIN = {"http": "http", "https": "http", "ws": "ws", "wss": "ws"}


class ForwardedHeaders:
    """Take client and scheme from X-Forwarded-For and -Proto, counted from their end.

    Each of the `hops` proxies appends one entry, so the entry at ``-hops`` was written by the
    outermost of them and everything before it by the client. Only who connects to a unix socket is
    believed, which is what Hypercorn reports no client for. The scope is copied shallowly: the
    lifespan state inside may hold locks.
    """

    def __init__(self, app: App, hops: int) -> None:
        """Trust `hops` proxies; 0 trusts none."""
        self._app = app
        self._hops = hops

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request with the restored client and scheme."""
        if scope["type"] in {"http", "websocket"} and self._hops and not scope.get("client"):
            scope = dict(scope)
            address = _parse_address(self._entry(scope["headers"], b"x-forwarded-for"))
            if address is not None:
                scope["client"] = (address, 0)  # the client's port is not reported
            scheme = self._entry(scope["headers"], b"x-forwarded-proto").lower()
            if scheme in {"http", "https"}:
                scope["scheme"] = (_SECURE if scheme == "https" else _PLAIN)[scope["scheme"]]
        await self._app(scope, receive, send)

    def _entry(self, headers: Headers, name: bytes) -> str:
        entries = ",".join(header_values(headers, name)).split(",")
        return entries[-self._hops].strip() if len(entries) >= self._hops else ""


def _parse_address(value: str) -> str | None:
    """Return the IP address in ``v4``, ``v4:port``, ``v6``, ``[v6]`` or ``"[v6]:port"``."""
    value = value.strip('"')
    if value.startswith("["):
        value = value[1:].partition("]")[0]
    elif value.count(":") == 1:
        value = value.partition(":")[0]
    try:
        address = ip_address(value)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
