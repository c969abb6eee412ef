"""Limit what one client may ask, so that it costs the others nothing."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network

from .asgi import App, Receive, Scope, Send, header_values
from .networks import network_of

_BODY = b'{"error":"too many requests","status":429}'
_KEPT = 65536  # clients that are remembered, of some 200 bytes each
# Times what is allowed of calls, and of streams: who asks for more than that is no longer answered.
_FLOOD = 3
_PENALTY = 60.0  # seconds, the longest that such a one has to keep still


class Rate:
    """How often each client may do something: `rate` times a second, and `burst` more at once.

    Kept is when a client would have been done had it gone at that rate (the generic cell rate
    algorithm), of the 65,536 that came last.
    """

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Count seconds by `clock`."""
        self._interval = 1 / rate
        self._slack = burst / rate
        self._clock = clock
        self._done: OrderedDict[str, float] = OrderedDict()

    def allow(self, client: str) -> bool:
        """Count one more time, unless that is too often."""
        allowed = not self.over(client)
        if allowed:
            self.charge(client, 1)
        return allowed

    def over(self, client: str) -> bool:
        """Say whether one more time would be too often."""
        return self._done.get(client, 0) - self._clock() > self._slack

    def charge(self, client: str, times: int) -> None:
        """Count so many times, even if that is too often."""
        now = self._clock()
        done = max(self._done.pop(client, now), now) + times * self._interval
        self._done[client] = min(done, now + self._slack + _PENALTY)
        if len(self._done) > _KEPT:
            self._done.popitem(last=False)


class Limits:
    """The limits of all clients: an address, or the /64 of an IPv6 address.

    Event streams are counted apart, so that they do not use up what a client may ask; how many may
    begin is limited all the same, as anything can call itself one.
    """

    def __init__(
        self,
        rate: int,
        burst: int,
        concurrency: int,
        unlimited: Sequence[str] = (),
        *,
        dry_run: bool = False,
    ) -> None:
        """Allow `rate` requests a second, `burst` more at once, `concurrency` at a time.

        `unlimited` are networks whom nothing concerns. In a dry run nothing is refused.
        """
        self.concurrency = concurrency
        self.dry_run = dry_run
        self.active: Counter[str] = Counter()
        self._unlimited = [ip_network(network) for network in unlimited]
        self._calls = Rate(rate, burst)
        self._streams = Rate(rate, burst)
        self._requests = Rate(_FLOOD * rate, _FLOOD * burst)

    def client(self, address: str) -> str | None:
        """Return by what a client counts; None if it does not."""
        if self._unlimited:
            parsed = ip_address(address.partition("%")[0])
            if any(parsed in network for network in self._unlimited):
                return None
        return network_of(address)

    def floods(self, address: str, requests: int) -> bool:
        """Count so many requests that have just come, and say whether to go on listening at all.

        What is refused for that counts as well, so that it does not help to keep trying.
        """
        client = self.client(address)
        if client is None or self.dry_run:
            return False
        if requests:
            self._requests.charge(client, requests)
        return self._requests.over(client)

    def allow(self, client: str, *, event_stream: bool) -> bool:
        """Count one request of a client, unless it is one too many."""
        return (self._streams if event_stream else self._calls).allow(client)


class RequestLimit:
    """Answer 429 to a request that is over its client's limits.

    What came of it is in the scope, for the log: ``edge.request_limit`` and
    ``edge.concurrency_limit`` as nginx says it, PASSED, REJECTED or REJECTED_DRY_RUN.
    """

    def __init__(self, app: App, limits: Limits) -> None:
        """Serve what `limits` allows."""
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        address = (scope.get("client") or [None])[0]
        client = self._limits.client(address) if address else None
        if client is None or scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        active = self._limits.active
        refused = [
            self._judge(
                scope, "request", self._limits.allow(client, event_stream=_is_event_stream(scope))
            ),
            self._judge(scope, "concurrency", active[client] < self._limits.concurrency),
        ]
        if any(refused):
            await _refuse(scope, send)
            return
        active[client] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            active[client] -= 1
            if not active[client]:
                del active[client]

    def _judge(self, scope: Scope, limit: str, passed: bool) -> bool:
        """Note what one limit says, and return whether the request is refused for it."""
        dry = "_DRY_RUN" if self._limits.dry_run else ""
        scope[f"edge.{limit}_limit"] = "PASSED" if passed else f"REJECTED{dry}"
        return not passed and not dry


def _is_event_stream(scope: Scope) -> bool:
    accepted = ",".join(header_values(scope["headers"], b"accept")).lower()
    return scope.get("method") == "GET" and "text/event-stream" in accepted


async def _refuse(scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close"})
        return
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(_BODY)),
        (b"retry-after", b"1"),
    ]
    if scope["http_version"].startswith("1"):
        headers.append((b"connection", b"close"))  # to come again costs what nftables limits
    await send({"type": "http.response.start", "status": 429, "headers": headers})
    await send({"type": "http.response.body", "body": _BODY, "more_body": False})
