"""Limits that several instances share, in a real server of Debian's."""

import logging
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from codeintel import limiter as module
from codeintel.app import create_app
from codeintel.auth.store import AuthStore
from codeintel.auth.tokens import add_token
from codeintel.limiter import Limiter, RateLimitError
from codeintel.settings import Settings, parse_limit
from pydantic import SecretStr
from valkey import Valkey

pytestmark = pytest.mark.anyio

PROGRAM = shutil.which("valkey-server") or shutil.which("redis-server")


class Store:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "store"
        self.url = f"valkey+unix://{self.path}"
        self.start()

    def start(self) -> None:
        assert PROGRAM, "install valkey-server or redis-server"
        options = ["--port", "0", "--unixsocket", str(self.path), "--save", "", "--dir", "/tmp"]
        self.process = subprocess.Popen([PROGRAM, *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(str(self.path))
                return
            except OSError:
                assert time.monotonic() < deadline

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.path.unlink(missing_ok=True)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(module, "STORE_TIMEOUT", 5)  # the machine may be busy
    monkeypatch.setattr(module, "RETRY_SECONDS", 60)
    running = Store(tmp_path)
    yield running
    running.stop()


def limit(store: Store, name: str = "request") -> Limiter:
    return Limiter(parse_limit("3/day"), "request", name=name, store=store.url)


async def allowed(limiter: Limiter, client: str = "a") -> int:
    for times in range(9):
        try:
            await limiter.count(client)
        except RateLimitError:
            return times
    return 9


async def test_instances_count_together(store: Store) -> None:
    one, other = limit(store), limit(store)
    await one.count("a")
    await other.count("a")
    assert await allowed(one) == 1
    with pytest.raises(RateLimitError, match="more than 3 requests in 1 day; wait") as refusal:
        await other.count("a")
    assert 1 <= refusal.value.wait <= 86_400
    assert await allowed(other, "b") == 3
    # Another limit that happens to be as high is counted apart.
    assert await allowed(limit(store, "tool grep")) == 3


async def test_everything_is_allowed_while_the_store_is_away(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    counted = limit(store)
    assert await allowed(counted) == 3
    store.stop()
    assert await allowed(counted) == 9
    [line] = caplog.messages
    assert line.startswith("request limit: off until the store is back: ")
    assert "\n" not in line
    store.start()
    assert await allowed(counted) == 9  # it asks again only after a pause
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert await allowed(counted) == 3
    assert caplog.messages[1:] == ["request limit: the store is back"]


async def test_a_store_that_hangs_costs_little(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STORE_TIMEOUT", 0.5)
    counted = limit(store)
    await counted.count("a")
    store.process.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert await allowed(counted) == 9
        assert time.monotonic() - began < 4 * module.STORE_TIMEOUT
    finally:
        store.process.send_signal(signal.SIGCONT)


async def test_no_token_is_the_name_of_a_key(store: Store, settings: Settings) -> None:
    place = {"state_dir": store.path.parent, "rate_limit_store": SecretStr(store.url)}
    app = create_app(settings.model_copy(update=place | {"auth": "tokens"}))
    token = add_token(AuthStore(store.path.parent), "script", None)
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url=settings.public_url) as client,
    ):
        await client.post("/mcp", json={}, headers={"Authorization": f"Bearer {token}"})
    with Valkey(unix_socket_path=str(store.path)) as database:
        names = [name.decode() for name in database.scan_iter()]
    assert any("/token " in name for name in names), names
    assert not any(token in name for name in names)
