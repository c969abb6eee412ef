"""The client and scheme that an app sees, by what its peer and the headers say."""

import asyncio
import threading
from typing import Any

import pytest
from hypercorn_edge.asgi import Message, Receive, Scope, Send
from hypercorn_edge.forwarded import ForwardedHeaders

FOR, PROTO = "x-forwarded-for", "x-forwarded-proto"
LOCAL = ("127.0.0.1", 9)


def seen(
    headers: list[tuple[str, str]],
    *,
    client: tuple[str, int] | None = None,
    hops: int = 1,
    scheme: str = "http",
) -> tuple[Any, str]:
    """Return the (client, scheme) that an app sees."""
    result: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        result.append(scope)

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(_message: Message) -> None:
        return None

    scope: Scope = {
        "type": "websocket" if scheme.startswith("ws") else "http",
        "client": client,
        "scheme": scheme,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
        "state": {"lock": threading.Lock()},  # cannot be copied deeply
    }
    asyncio.run(ForwardedHeaders(app, hops)(scope, receive, send))
    assert scope["scheme"] == scheme, "the caller's scope was changed"
    assert result[0]["state"] is scope["state"]
    return result[0]["client"], result[0]["scheme"]


def test_who_connects_to_the_unix_socket_is_the_proxy() -> None:
    headers = [(FOR, "203.0.113.7"), (PROTO, "https")]
    assert seen(headers, client=None) == (("203.0.113.7", 0), "https")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "198.51.100.1"])
def test_others_are_not(address: str) -> None:
    peer = (address, 9)
    assert seen([(FOR, "203.0.113.7"), (PROTO, "https")], client=peer) == (peer, "http")


def test_no_hops_trust_nobody() -> None:
    assert seen([(FOR, "203.0.113.7"), (PROTO, "https")], hops=0) == (None, "http")


def test_entries_are_counted_from_the_end() -> None:
    headers = [(FOR, "6.6.6.6, 203.0.113.7"), (PROTO, "https, http")]
    assert seen(headers) == (("203.0.113.7", 0), "http")
    assert seen(headers, hops=2) == (("6.6.6.6", 0), "https")
    assert seen(headers, hops=3) == (None, "http")


def test_repeated_headers_are_one_list() -> None:
    assert seen([(FOR, "6.6.6.6"), (FOR, "203.0.113.7")]) == (("203.0.113.7", 0), "http")


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("203.0.113.7:5", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ('"[2001:db8::7]:5"', "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
    ],
)
def test_forms_of_addresses(value: str, address: str) -> None:
    assert seen([(FOR, value)])[0] == (address, 0)


@pytest.mark.parametrize("value", ["", "unknown", "_hidden", "203.0.113.7.8", "\xe4", "1:2:3"])
def test_what_is_no_address_is_ignored(value: str) -> None:
    assert seen([(FOR, value)], client=LOCAL)[0] == LOCAL


def test_websockets() -> None:
    assert seen([(PROTO, "https")], scheme="ws")[1] == "wss"
    assert seen([(PROTO, "http")], scheme="wss")[1] == "ws"
    assert seen([(PROTO, "gopher")], scheme="ws")[1] == "ws"
