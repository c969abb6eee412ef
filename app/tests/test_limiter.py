import resource
import time
from pathlib import Path

import pytest
from anyio.lowlevel import checkpoint
from codeintel.limiter import SLOTS, Limiter, RateLimitError
from codeintel.settings import parse_limit

pytestmark = pytest.mark.anyio

PAGE = resource.getpagesize()


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_800_000_000.0  # a whole number of minutes
        monkeypatch.setattr(time, "time", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def allowed(limiter: Limiter, client: str) -> int:
    """Return how often `client` may until it is refused."""
    for times in range(1000):
        try:
            await limiter.count(client)
        except RateLimitError:
            return times
    raise AssertionError("never refused")


async def test_each_client_has_a_budget_of_its_own(clock: Clock) -> None:
    limiter = Limiter(parse_limit("5/minute"), "request", name="test")
    assert await allowed(limiter, "a") == 5
    clock.now += 1
    assert await allowed(limiter, "a") == 0
    assert await allowed(limiter, "b") == 5


async def test_the_window_slides(clock: Clock) -> None:
    limiter = Limiter(parse_limit("60/minute"), "request", name="test")
    clock.now += 59
    assert await allowed(limiter, "a") == 60
    clock.now += 2  # a fixed window would start anew; of this one a sixtieth is over
    assert await allowed(limiter, "a") == 1
    clock.now += 29
    assert await allowed(limiter, "a") == 29
    clock.now += 120
    assert await allowed(limiter, "a") == 60


@pytest.mark.parametrize(
    ("limit", "after", "message", "wait"),
    [
        ("60/minute", 48, "more than 60 calls in 1 minute; wait 12 seconds", 12),
        ("1/minute", 59.5, "more than 1 call in 1 minute; wait 1 second", 1),
        ("2/10 seconds", 0.5, "more than 2 calls in 10 seconds; wait 10 seconds", 10),
    ],
)
async def test_a_refusal_says_how_long_to_wait(
    clock: Clock, limit: str, after: float, message: str, wait: int
) -> None:
    limiter = Limiter(parse_limit(limit), "call", name="test")
    clock.now += after
    await allowed(limiter, "a")
    with pytest.raises(RateLimitError) as refusal:
        await limiter.count("a")
    assert str(refusal.value) == message
    assert refusal.value.wait == wait


@pytest.mark.parametrize("limit", ["1/minute", "7/minute", "60/minute", "3/10 seconds"])
async def test_who_waits_as_told_may_again(clock: Clock, limit: str) -> None:
    limiter = Limiter(parse_limit(limit), "call", name="test")
    clock.now += 3.7
    refusals = 0
    for _ in range(300):
        try:
            await limiter.count("a")
            clock.now += 0.31
        except RateLimitError as refusal:
            refusals += 1
            clock.now += refusal.wait + 0.001
            await limiter.count("a")
    assert refusals > 10


async def test_memory_is_bounded_however_many_addresses_come() -> None:
    limiter = Limiter(parse_limit("1200/minute"), "request", name="test")
    await limiter.count("first")
    before = resident_bytes()
    for number in range(300_000):
        await limiter.count(f"address {number}")
    assert resident_bytes() - before < 16 * SLOTS + 2_000_000


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


async def test_many_clients_do_not_make_a_count_slow() -> None:
    limiter = Limiter(parse_limit("1200/minute"), "request", name="test")
    for number in range(100_000):
        await limiter.count(f"address {number}")
    began = time.perf_counter()
    for _ in range(50):
        await limiter.count("another")
        await checkpoint()  # for what a storage does beside the requests
    assert time.perf_counter() - began < 0.1  # 2 ms each; it takes a hundredth of that


async def test_places_in_the_table_serve_again(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codeintel.limiter.SLOTS", 64)
    limiter = Limiter(parse_limit("5/minute"), "request", name="test")
    budgets = []
    for _ in range(200):
        budgets.append(await allowed(limiter, "a"))
        clock.now += 180
    # Seldom, the counters of two windows share a place.
    assert max(budgets) == 5
    assert sum(budgets) > 900
