"""The power is cut in the middle of things: the host serves when it is back, and a run mends it.

CHANGE_POINTS is how many points of each are tried. What the kernel had not written yet is not lost
with the processes, as it would be with the power.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from changing import DEPLOY, HOSTS, SITE, Edge, another_app
from lab import ROOT, connect
from power import cut

POINTS = int(os.environ.get("CHANGE_POINTS", "2"))
LOCK = str(ROOT / "app/requirements.lock")


UnderWay = Callable[[], bool]


@contextmanager
def deploying(edge: Edge, folder: Path) -> Iterator[UnderWay]:
    """Another release, each time: the power fails before it is built, or as it takes over."""
    app = another_app(folder / str(time.monotonic_ns()))
    play = edge.start(DEPLOY, mcp_app_location=str(app), mcp_app_lock=LOCK)
    try:
        yield lambda: play.poll() is None
    finally:
        play.kill()
        play.communicate()


@contextmanager
def renewing(edge: Edge, _folder: Path) -> Iterator[UnderWay]:
    edge.run(
        "systemd-run --quiet --collect --unit=renewing"
        " certbot renew --force-renewal --no-random-sleep-on-renew"
    )
    yield lambda: edge.host.run("systemctl is-active renewing").rc == 0


@contextmanager
def indexing(edge: Edge, _folder: Path) -> Iterator[UnderWay]:
    edge.run("rm -f /var/lib/codeintel-index/indexes/lab.indexed")
    edge.run("find /usr/lib/python3.13 -name '*.py' -exec sed -i '$a# again' {} +")
    edge.run("systemctl start --no-block codeintel-index@lab.service")
    yield lambda: edge.host.run("systemctl is-active codeintel-index@lab").stdout == "activating\n"


WORK: tuple[tuple[Callable[[Edge, Path], AbstractContextManager[UnderWay]], float], ...] = (
    (deploying, 25),
    (renewing, 1.5),
    (indexing, 8),
)  # and how many seconds each takes


def cut_at_all_points(edge: Edge, folder: Path) -> None:
    for begin, seconds in WORK:
        hits = 0
        for point in range(1, POINTS + 1):
            with begin(edge, folder) as is_under_way:
                time.sleep(seconds * point / POINTS)  # the point in time is what is tried
                hits += is_under_way()
                cut(edge)
        assert hits >= POINTS / 2, f"{begin.__name__} was over too early"
        edge.change(SITE)
        assert "changed=0" in edge.change(SITE)


@pytest.mark.timeout(600 + 150 * POINTS)
def test_the_power_is_cut(tmp_path: Path) -> None:
    """Of both hosts, each by itself; each serves again before the next time."""
    edges = [Edge(name, connect(name)) for name in HOSTS]
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(cut_at_all_points, edge, tmp_path / edge.name) for edge in edges]:
            done.result()
    assert all(edge.settled() for edge in edges)
