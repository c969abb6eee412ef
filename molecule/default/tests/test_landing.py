"""The page at /, seen by a real Chromium that comes over each protocol."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from lab import ROOT, Curl, python_on
from testinfra.host import Host

ARTIFACTS = ROOT / ".cache/artifacts"
# Unforced, Chromium comes over HTTP/2 first, and takes HTTP/3 later only with a certificate of one
# of the world's authorities.
FLAGS = {
    "HTTP/3": "--origin-to-force-quic-on=mcp.test:443",
    "HTTP/2": "--disable-quic",
    "HTTP/1.1": "--disable-http2",
}
TRUSTED = "/usr/local/share/ca-certificates/lab.crt"
LOOK = "from probe.look import main; main()"


def look(browser: Host, protocol: str) -> Any:  # noqa: ANN401 - its own JSON
    return python_on(
        browser, LOOK, "https://mcp.test/", f"--flag={FLAGS[protocol]}", f"--root={TRUSTED}"
    )


def test_it_fits_works_and_breaks_no_policy_over_http3(browser: Host, curl: Curl) -> None:
    seen = look(browser, "HTTP/3")
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    for width, name in {"1280": "landing.png", "320": "landing-phone.png"}.items():
        (ARTIFACTS / name).write_bytes(base64.b64decode(seen["shots"][width]))
    assert seen["read"]["protocol"] == "HTTP/3"
    ready = curl("https://mcp.test/api/readyz").status == 200
    assert seen["read"]["state"] == ("Ready" if ready else "Not ready")
    assert seen["read"]["hint"] is None
    assert seen["too_wide"] == {"320": [], "1280": []}
    assert seen["copied"] == ["Copied", "https://mcp.test/mcp"]
    assert seen["complaints"] == []


@pytest.mark.parametrize("protocol", ["HTTP/2", "HTTP/1.1"])
def test_it_names_the_other_protocols_too(browser: Host, protocol: str) -> None:
    seen = look(browser, protocol)
    assert seen["read"]["protocol"] == protocol
    assert (seen["read"]["hint"] is not None) == (protocol == "HTTP/2")
    assert seen["complaints"] == []
