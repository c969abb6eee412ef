import threading
from typing import Any

import anyio
import pytest
from codeintel.middleware.forwarded import ForwardedHeaders
from starlette.types import Message, Receive, Scope, Send


def seen(
    headers: list[tuple[str, str]], *, client: tuple[str, int] | None = None, hops: int = 1
) -> tuple[Any, str]:
    """Return the (client, scheme) that an application sees."""
    result: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        result.append(scope)

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(_message: Message) -> None:
        return None

    scope: Scope = {
        "type": "http",
        "client": client,
        "scheme": "http",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
        "state": {"lock": threading.Lock()},  # cannot be copied deeply
    }
    anyio.run(ForwardedHeaders(app, hops), scope, receive, send)
    assert scope["scheme"] == "http", "the caller's scope was changed"
    assert result[0]["state"] is scope["state"]
    return result[0]["client"], result[0]["scheme"]


FOR, PROTO = "x-forwarded-for", "x-forwarded-proto"


@pytest.mark.parametrize("client", [None, ("127.0.0.1", 9), ("::1", 9), ("::ffff:127.0.0.1", 9)])
def test_local_peers_are_proxies(client: tuple[str, int] | None) -> None:
    headers = [(FOR, "203.0.113.7"), (PROTO, "https")]
    assert seen(headers, client=client) == (("203.0.113.7", 0), "https")


def test_remote_peers_are_not() -> None:
    remote = ("198.51.100.1", 9)
    assert seen([(FOR, "203.0.113.7"), (PROTO, "https")], client=remote) == (remote, "http")


def test_no_hops_trust_nobody() -> None:
    assert seen([(FOR, "203.0.113.7"), (PROTO, "https")], hops=0) == (None, "http")


def test_entries_are_counted_from_the_end() -> None:
    headers = [(FOR, "6.6.6.6, 203.0.113.7"), (PROTO, "https, http")]
    assert seen(headers) == (("203.0.113.7", 0), "http")
    assert seen(headers, hops=2) == (("6.6.6.6", 0), "https")
    assert seen(headers, hops=3) == (None, "http")


def test_repeated_headers_are_one_list() -> None:
    assert seen([(FOR, "6.6.6.6"), (FOR, "203.0.113.7")])[0] == ("203.0.113.7", 0)


def test_the_forwarded_host_is_ignored() -> None:
    assert seen([("x-forwarded-host", "evil.example")]) == (None, "http")


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("203.0.113.7:1234", "203.0.113.7"),
        ("2001:DB8::1", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ('"[2001:db8::1]:443"', "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
    ],
)
def test_forms_of_an_address(value: str, address: str) -> None:
    assert seen([(FOR, value)])[0] == (address, 0)


@pytest.mark.parametrize("value", ["", ",", "unknown", "_hidden", "[", "1.2.3.4.5", "\xff", "a:b:"])
def test_malformed_values_change_nothing(value: str) -> None:
    assert seen([(FOR, value), (PROTO, value)]) == (None, "http")
