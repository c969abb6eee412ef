"""Steady load from this machine on a host of the scenario, while a test does something to it."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import re
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab import ADDRESSES, LAB, ROOT

KEPT = ROOT / f".cache/artifacts/{LAB}"
JUDGED = {0, 1}  # nothing was lost, or something
_runs = itertools.count(1)


@functools.cache
def root() -> Path:
    """Return a file with the root that the scenario's ACME server issues from."""
    unchecked = ssl._create_unverified_context()
    url = f"https://{ADDRESSES['acme']}:15000/roots/0"
    with urllib.request.urlopen(url, context=unchecked, timeout=10) as answer:
        content = answer.read()
    path = ROOT / f".cache/lab/{LAB}-root.pem"
    path.write_bytes(content)
    return path


@contextlib.contextmanager
def steadily(
    url: str,
    *options: str,
    address: str = ADDRESSES["target"],
    ca_file: Path | None = None,
) -> Iterator[dict[str, Any]]:
    """Keep load on a URL; what the with statement holds happens in its midst.

    The report, that of bin/steady --json, is filled in at the end. With a picture it is left in
    .cache/artifacts, by the name of the test and a number. The requests come from the bridge's
    address: for a --rate above the default it must be among the scenario's
    nginx_quic_unlimited_networks.
    """
    report: dict[str, Any] = {}
    kept = _place()
    kept.unlink(missing_ok=True)
    harness = [sys.executable, f"{ROOT}/bench/steady", f"--url={url}", f"--address={address}"]
    files = [
        f"--ca-file={ca_file or root()}",
        f"--json={kept}",
        f"--svg={kept.with_suffix('.svg')}",
    ]
    process = subprocess.Popen(
        [*harness, *files, *options, "--", "sh", "-c", "echo; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # a buffer would take in what follows the first line, and keep it
    )
    try:
        assert process.stdout is not None
        if not process.stdout.readline():  # COMMAND did not begin
            raise AssertionError(process.communicate()[1].decode())
        yield report
        output, errors = process.communicate(timeout=60)  # which ends COMMAND
    finally:
        process.kill()
        process.wait()
    print(output.decode())  # the table; shown where a test fails
    assert process.returncode in JUDGED, errors.decode()
    assert kept.exists(), errors.decode()
    report.update(json.loads(kept.read_text()))


def _place() -> Path:
    """Return a file for the report, which nobody has in this run."""
    test = os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2].split()[0]
    stem = re.sub(r"[^a-z0-9]+", "-", test).strip("-")
    KEPT.mkdir(parents=True, exist_ok=True)
    return KEPT / f"{stem}-{next(_runs)}.json"
