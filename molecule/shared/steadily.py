"""Steady load from this machine on a host of the scenario, while a test does something to it."""

from __future__ import annotations

import contextlib
import functools
import json
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab import ADDRESSES, LAB, ROOT

PICTURE = ROOT / f".cache/lab/{LAB}-steady.svg"
UNUSABLE = 2


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

    The report, that of bin/steady --json, is filled in at the end, and a picture of the last run is
    left in .cache/lab. The requests come from the bridge's address: for a --rate above the default
    it must be among the scenario's nginx_quic_unlimited_networks.
    """
    report: dict[str, Any] = {}
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(suffix=".json") as told:
        harness = [sys.executable, f"{ROOT}/bench/steady", f"--url={url}", f"--address={address}"]
        files = [f"--ca-file={ca_file or root()}", f"--json={told.name}", f"--svg={PICTURE}"]
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
        assert process.returncode != UNUSABLE, errors.decode()
        report.update(json.loads(Path(told.name).read_text()))
