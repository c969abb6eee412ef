"""A release comes, fails to come, and goes, while the host is in use."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from changing import DEPLOY, ROLLBACK, SITE, Edge, another_app, nothing_lost
from lab import ROOT, Curl, connect, until

LOCK = str(ROOT / "app/requirements.lock")


def deploy(edge: Edge, app: Path, **variables: object) -> tuple[int, str]:
    return edge.play(DEPLOY, mcp_app_location=str(app), mcp_app_lock=LOCK, **variables)


@contextlib.contextmanager
def offline(edge: Edge) -> Iterator[None]:
    """Have a host reach nobody but its neighbours, who asks it among them."""
    way = edge.run("ip route show default")
    assert way
    edge.run("ip route del default")
    try:
        yield
    finally:
        edge.run(f"ip route add {way}")


def test_a_release_comes_and_goes(edge: Edge, tmp_path: Path, curl: Curl) -> None:
    """By deploy.yml, back by rollback.yml, forward by its name, and back where nothing serves."""
    before = edge.release()
    with edge.loaded() as report:
        many = {"CODEINTEL_RATE_LIMIT": "987654/minute"}
        status, said = deploy(edge, another_app(tmp_path / "app"), mcp_app_settings=many)
    assert status == 0, said[-3000:]
    nothing_lost(report, within=edge.hand_over)
    after = edge.release()
    assert after != before
    assert "987654" in edge.run("cat /etc/codeintel/environment")

    with edge.loaded() as report, offline(edge):
        began = time.monotonic()
        edge.change(ROLLBACK)
        assert time.monotonic() - began < 30
    nothing_lost(report, within=edge.hand_over)
    assert edge.release() == before
    assert "987654" not in edge.run("cat /etc/codeintel/environment")  # with the settings of then

    edge.change(ROLLBACK, rollback_to=after)
    assert edge.release() == after
    edge.run("systemctl stop codeintel.service codeintel.socket")
    edge.change(ROLLBACK)
    assert curl(f"https://{edge.domain}/api/readyz").status == 200
    assert edge.release() == before
    edge.change(DEPLOY)
    assert edge.release() == before
    assert edge.settled()


def test_a_way_back_that_is_not_there(one: Edge) -> None:
    before, process = one.release(), one.process()
    for target in ("0123456789ab", before):
        status, said = one.play(ROLLBACK, rollback_to=target)
        assert status != 0
        assert "Nothing was changed" in said
        assert target in said
    assert (one.release(), one.process()) == (before, process)


def test_a_release_that_is_not_ready_gets_no_traffic(
    edge: Edge, tmp_path: Path, curl: Curl
) -> None:
    """Nor does what runs get what came with it, even if it has to begin again."""
    before, process = edge.release(), edge.process()
    back = edge.run("readlink /srv/codeintel/previous")
    with edge.loaded() as report:
        app = another_app(tmp_path / "app", ready=False)
        few = {"CODEINTEL_RATE_LIMIT": "1/hour"}
        status, said = deploy(edge, app, mcp_app_settings=few)
    assert status != 0
    assert "ZeroDivisionError" in said, said[-3000:]  # the journal of the one that failed
    assert "goes on as before" in said
    nothing_lost(report)
    assert report["totals"]["sessions_renewed"] == 0  # nor was the other one replaced
    assert (edge.release(), edge.process()) == (before, process)
    assert edge.run("readlink /srv/codeintel/previous") == back
    assert edge.settled()

    assert "1/hour" not in edge.run("cat /etc/codeintel/environment")
    edge.run(f"kill -9 {process}")
    page = f"https://{edge.domain}/"
    assert until(connect("client"), f"curl -sf --max-time 2 -o /dev/null {page}", 30)
    for _ in range(3):
        assert curl(page).status == 200
    process = edge.process()
    edge.change(DEPLOY)
    assert (edge.release(), edge.process()) == (before, process)


def test_a_release_that_cannot_be_imported_is_left_alone(one: Edge, tmp_path: Path) -> None:
    """By timers, too, which would make indexes that the one that serves does not read."""
    before, process = one.release(), one.process()
    app = another_app(tmp_path / "app")
    with (app / "src/codeintel/asgi.py").open("a") as module:
        module.write('raise RuntimeError("not today")')
    status, said = deploy(one, app)
    assert status != 0
    assert "not today" in said, said[-3000:]
    assert (one.release(), one.process()) == (before, process)
    assert one.run("basename $(readlink /srv/codeintel/indexing)") == before


def test_a_second_change_at_the_same_time_is_refused(edge: Edge, tmp_path: Path) -> None:
    app = another_app(tmp_path / "app")
    with edge.start(DEPLOY, mcp_app_location=str(app), mcp_app_lock=LOCK) as first:
        assert until(edge.host, "systemctl is-active --quiet codeintel-change.service", 60)
        for playbook in (DEPLOY, SITE, ROLLBACK):
            status, said = edge.play(playbook)
            assert status != 0
            assert "Another run is changing codeintel on this host: A change by root@" in said
            assert "changed=0" in said
        said, _ = first.communicate(timeout=200)
    assert first.returncode == 0, said[-3000:]
    edge.change(ROLLBACK)
    assert edge.settled()


def test_a_full_disk_stops_a_release_before_the_old_one_is_touched(
    edge: Edge, tmp_path: Path
) -> None:
    before, process = edge.release(), edge.process()
    edge.run(
        "set -e; size=$(du -sk /srv/codeintel | cut -f1); mkdir -p /mnt/small;"
        "mount -t tmpfs -o size=$((size + 20000))k tmpfs /mnt/small;"
        "cp -a /srv/codeintel/. /mnt/small; mount --bind /mnt/small /srv/codeintel"
    )
    try:
        with edge.loaded() as report:
            status, said = deploy(edge, another_app(tmp_path / "app"))
        assert (edge.release(), edge.process()) == (before, process)
        assert edge.run("ls /srv/codeintel/releases | wc -l") == edge.run(
            "ls -d /srv/codeintel/releases/*/.complete | wc -l"
        )
    finally:
        edge.run("umount /srv/codeintel /mnt/small")
    assert status != 0
    assert "what runs was not touched" in said, said[-3000:]
    assert "No space left on device" in said
    nothing_lost(report)
