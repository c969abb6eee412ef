"""The power is cut in the middle of things: the host serves when it is back, and a run mends it.

What is promised was tried at ten points of each; CHANGE_POINTS=10 does that again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from changing import DEPLOY, SITE, Edge, another_app
from lab import ROOT
from power import cut

POINTS = int(os.environ.get("CHANGE_POINTS", "3"))
LOCK = str(ROOT / "app/requirements.lock")


@contextmanager
def deploying(edge: Edge, folder: Path) -> Iterator[None]:
    """Another release, each time: the power fails before it is built, or as it takes over."""
    app = another_app(folder / str(time.monotonic_ns()))
    play = edge.start(DEPLOY, mcp_app_location=str(app), mcp_app_lock=LOCK)
    try:
        yield
    finally:
        play.kill()
        play.communicate()


@contextmanager
def renewing(edge: Edge, _folder: Path) -> Iterator[None]:
    edge.run(
        "systemd-run --quiet --collect certbot renew --force-renewal --no-random-sleep-on-renew"
    )
    yield


@contextmanager
def indexing(edge: Edge, _folder: Path) -> Iterator[None]:
    edge.run("rm /var/lib/codeintel-index/indexes/lab.indexed")
    edge.run("find /usr/lib/python3.13 -name '*.py' -exec sed -i '$a# again' {} +")
    edge.run("systemctl start --no-block codeintel-index@lab.service")
    yield


@pytest.mark.parametrize(
    ("begin", "seconds"), [(deploying, 25.0), (renewing, 5.0), (indexing, 8.0)]
)
def test_the_power_is_cut(
    edge: Edge,
    tmp_path: Path,
    begin: Callable[[Edge, Path], AbstractContextManager[None]],
    seconds: float,
) -> None:
    for point in range(1, POINTS + 1):
        with begin(edge, tmp_path):
            time.sleep(seconds * point / POINTS)  # the point in time is what is tried
            cut(edge)
    edge.change(SITE)
    assert "changed=0" in edge.change(SITE)
    assert edge.settled()
