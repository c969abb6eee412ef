"""What clients leave in the server's memory, summed over all of them, has a bound."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

from .edge_client import Client, answers, h3
from .edge_server import Server, serving

CLIENTS = 10
DOWNLOADS = 100  # of each client, of which none is read; the server holds 256 kB and more of each


def test_clients_that_do_not_read_cannot_fill_the_memory(tmp_path: Path) -> None:
    """Together they would take 300 MB: the heaviest have to go, and nobody else."""

    async def scenario(server: Server) -> None:
        async with AsyncExitStack() as stack:
            other = await stack.enter_async_context(h3(server.host, server.port))
            for _ in range(CLIENTS):
                client = await stack.enter_async_context(h3(server.host, server.port))
                stack.callback(hear, client)
                for _ in range(DOWNLOADS):
                    client.begin("/large", end=True)
                client.deaf = client.mute = True
            most = 0
            deadline = time.monotonic() + 10
            while True:
                streams = (await other.json("/live"))["streams"]
                most = max(most, streams)
                if streams <= most - DOWNLOADS:
                    break
                assert time.monotonic() < deadline, f"{streams} downloads are held"
                await asyncio.sleep(0.05)
            assert await answers(server.host, server.port, 5)

    with serving(tmp_path) as server:
        asyncio.run(scenario(server))


def test_the_garbage_collector_leaves_what_is_loaded_alone(tmp_path: Path) -> None:
    async def scenario(server: Server) -> int:
        async with h3(server.host, server.port) as client:
            frozen: int = (await client.json("/frozen"))["frozen"]
            return frozen

    with serving(tmp_path) as server:
        assert asyncio.run(scenario(server)) > 10_000


def hear(client: Client) -> None:
    """Let the client leave."""
    client.deaf = client.mute = False
