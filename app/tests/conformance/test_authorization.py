"""The suite's part about authorization; a script takes the place of owner and browser."""

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import httpx2
import pytest
from codeintel.auth.passwords import hash_password
from edge_process import serving
from node_tools import CONFORMANCE

PASSWORD = "correct horse battery"


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[str]:
    settings = {
        "CODEINTEL_AUTH": "owner",
        "CODEINTEL_OWNER_PASSWORD": hash_password(PASSWORD),
        "CODEINTEL_STATE_DIR": str(tmp_path / "state"),
        "CODEINTEL_CLIENT_DOCUMENTS": "true",
    }
    with serving("codeintel.asgi:app", tmp_path, **settings) as address:
        yield address.removesuffix("/mcp")


def test_authorization(origin: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    client = {
        "client_name": "the suite",
        "redirect_uris": [f"http://127.0.0.1:{port}/callback"],
        "token_endpoint_auth_method": "none",
    }
    registered = httpx2.post(f"{origin}/register", json=client, timeout=60).json()
    about = ["--client-id", registered["client_id"], "--resource", f"{origin}/mcp"]
    command = [*CONFORMANCE, "authorization", "--url", origin, *about, "--port", str(port)]
    with subprocess.Popen(
        [*command, "--output-dir", tmp_path / "results"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"NO_COLOR": "1"},
    ) as suite:
        assert suite.stdout is not None
        for line in suite.stdout:
            print(line, end="")
            if found := re.search(rf"{re.escape(origin)}/authorize\S+", line):
                allow(origin, found[0])
        assert suite.wait(60) == 0
    results = [json.loads(file.read_text()) for file in tmp_path.glob("results/*/checks.json")]
    statuses = {check["id"]: check["status"] for checks in results for check in checks}
    assert len(statuses) >= 3
    assert set(statuses.values()) == {"SUCCESS"}, statuses


def allow(origin: str, url: str) -> None:
    """Do what the owner does in a browser."""
    with httpx2.Client(follow_redirects=True) as browser:
        page = browser.get(url)
        form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text))
        form |= {"decision": "allow", "password": PASSWORD}
        done = browser.post(f"{origin}/consent", data=form, headers={"Origin": origin})
        [back] = re.findall(r'<a href="([^"]+)"', done.text)
        assert browser.get(unescape(back)).status_code == 200
