"""Counting what clients do, in constant memory and time however many of them come."""

import logging
import time
from array import array
from math import ceil

from limits import RateLimitItem
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError

from codeintel.errors import CodeintelError

SLOTS = 1 << 18
"""Counters of one limiter. Each has 16 bytes: a limiter takes 4 MiB, and no more ever."""

STORE_TIMEOUT = 0.2
"""Seconds that a request may wait for a shared store to connect, and to answer."""

RETRY_SECONDS = 5.0
"""Pause until a store that failed is asked again."""

logger = logging.getLogger(__name__)


class RateLimitError(CodeintelError):
    """A client did something too often; it may again after `wait` seconds."""

    def __init__(self, message: str, wait: int) -> None:
        """Say `message` and the seconds to `wait`, at least 1."""
        super().__init__(message)
        self.wait = wait


class Limiter:
    """Lets each client do something so many times in a sliding window.

    Where a shared store counts and does not answer, everything is allowed until it does.
    """

    def __init__(self, limit: RateLimitItem, noun: str, *, name: str, store: str = "") -> None:
        """Allow `limit`; `noun` is what is counted, in the singular.

        With the address of a `store`, all limiters of one `name` count together.
        """
        self._strategy = SlidingWindowCounterRateLimiter(
            _shared(store, name) if store else _CounterTable()
        )
        self._limit = limit
        self._name = name
        self._away_until = 0.0  # by the monotonic clock; 0 while the store answers
        window = _count(limit.multiples, limit.GRANULARITY.name)
        self._excess = f"more than {_count(limit.amount, noun)} in {window}"

    async def count(self, client: str) -> None:
        """Count one for `client`. Raises RateLimitError, and counts nothing, over the limit."""
        if self._away_until and time.monotonic() < self._away_until:
            return
        try:
            allowed = await self._strategy.hit(self._limit, client)
            stats = None if allowed else await self._strategy.get_window_stats(self._limit, client)
        except StorageError as error:
            self._note_away(error)
            return
        if self._away_until:
            logger.info("%s limit: the store is back", self._name)
            self._away_until = 0.0
        if stats is not None:
            wait = max(1, ceil(stats.reset_time - time.time()))
            raise RateLimitError(f"{self._excess}; wait {_count(wait, 'second')}", wait)

    def _note_away(self, error: StorageError) -> None:
        if not self._away_until:
            logger.warning(
                "%s limit: off until the store is back: %s", self._name, error.storage_error
            )
        self._away_until = time.monotonic() + RETRY_SECONDS


def _shared(store: str, name: str) -> RedisStorage:
    # The client library of Valkey speaks to Redis as well.
    return RedisStorage(
        f"async+{store}",
        wrap_exceptions=True,
        implementation="valkey",
        key_prefix=f"codeintel:sliding-window:{name}",
        socket_timeout=STORE_TIMEOUT,
        socket_connect_timeout=STORE_TIMEOUT,
    )


class _CounterTable(MemoryStorage):
    """The memory storage of `limits`, over a table of fixed size.

    The original has a counter for every client and, after every hit, looks at all of them for
    those that have expired: 50 ms a request when there are 200,000. Here the hash of a counter's
    name is its place. Names that meet in one place share it, but not for long: the names change
    with each window. Python's hash has a secret key, so that nobody can aim at another's.
    Nothing suspends, and so nothing happens between the look at a counter and its increment.
    """

    def __init__(self) -> None:
        super().__init__()
        self._counts = array("Q", [0]) * SLOTS
        self._ends = array("d", [0]) * SLOTS  # seconds since the epoch

    async def get(self, key: str) -> int:
        slot = hash(key) % SLOTS
        return self._counts[slot] if self._ends[slot] > time.time() else 0

    async def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        slot, now = hash(key) % SLOTS, time.time()
        if self._ends[slot] <= now:
            self._counts[slot] = 0
            self._ends[slot] = now + expiry
        self._counts[slot] += amount
        return self._counts[slot]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
