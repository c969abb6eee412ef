"""The shapes of ASGI that the middlewares share."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


def header_values(headers: Headers, name: bytes) -> list[str]:
    """Return the values of all headers of that lower-case `name`, in order."""
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]
