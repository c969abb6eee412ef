"""FastMCP's own OAuth client through nginx: in by the owner's password, over a restart, and out."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
from collections.abc import Callable, Iterator
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest
from fastmcp import Client
from fastmcp.client.auth import OAuth
from fastmcp.client.transports import StreamableHttpTransport
from key_value.aio.stores.memory import MemoryStore
from lab import ROOT, TARGET6, names_of, play, python_on
from testinfra.host import Host

SITE = str(ROOT / "playbooks/site.yml")
URL = "https://mcp.test/mcp"
PASSWORD = "a password of the tests"
# As what waits for the service does: the socket is systemd's, and requests wait in it.
RESTART = "systemctl restart codeintel.service"
SIGN_IN = "from probe.sign_in import main; main()"
CHROMIUM = (
    "--flag=--origin-to-force-quic-on=mcp.test:443",
    "--root=/usr/local/share/ca-certificates/lab.crt",
)


@pytest.fixture(scope="module")
def owned(target: Host) -> Iterator[Host]:
    """Put the owner at the door of the host, and take it away again."""
    owner = {"mcp_app_auth": "owner", "mcp_app_owner_password": PASSWORD}
    done = play(SITE, "-e", json.dumps(owner))
    assert done.returncode == 0, done.stdout
    yield target
    done = play(SITE)
    assert done.returncode == 0, done.stdout


class Visitor(OAuth):
    """The client, with a browser in which the owner gives the password."""

    def __init__(self, storage: MemoryStore, browse: Callable[[str], Any]) -> None:
        super().__init__(URL, token_storage=storage, callback_timeout=30)
        self.browse = browse
        self.visits: list[asyncio.Task[None]] = []

    async def redirect_handler(self, authorization_url: str) -> None:
        self.visits.append(asyncio.create_task(self.browse(authorization_url)))


@pytest.mark.usefixtures("owned")
def test_the_owner_lets_a_client_in_with_a_phones_chromium_over_http3(browser: Host) -> None:
    """What a browser adds to a form, its origin above all, both edge and app believe."""
    verifier = "v" * 43
    challenge = base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")
    callback = "http://127.0.0.1:1/callback"
    described: dict[str, object] = {"client_name": "Phone", "redirect_uris": [callback]}
    described["token_endpoint_auth_method"] = "none"
    registered = curl_json(browser, "register", "--json", json.dumps(described))
    asked = {"response_type": "code", "client_id": registered["client_id"], "state": "s"}
    asked |= {"redirect_uri": callback, "resource": URL}
    asked |= {"code_challenge": challenge, "code_challenge_method": "S256"}
    url = f"https://mcp.test/authorize?{urlencode(asked)}"
    seen = python_on(browser, SIGN_IN, url, PASSWORD, *CHROMIUM)
    assert seen["back"].startswith(f"{callback}?")
    assert (seen["too_wide"], seen["complaints"]) == ([], [])
    code = dict(parse_qsl(urlsplit(seen["back"]).query))["code"]
    form = {"grant_type": "authorization_code", "code": code, "code_verifier": verifier}
    form |= {"client_id": registered["client_id"], "redirect_uri": callback}
    tokens = curl_json(browser, "token", "--data", urlencode(form))
    assert tokens["token_type"] == "Bearer"


def curl_json(host: Host, path: str, *options: str) -> Any:  # noqa: ANN401 - JSON
    run = host.run("curl -sS" + " %s" * len(options) + " %s", *options, f"https://mcp.test/{path}")
    return json.loads(run.stdout)


def test_in_and_out(owned: Host, client: Host, tmp_path: Path) -> None:
    authorities = tmp_path / "authorities.pem"
    authorities.write_text(client.check_output("cat /etc/ssl/certs/ca-certificates.crt"))
    trust = ssl.create_default_context(cafile=str(authorities))
    storage = MemoryStore()
    asked = 0

    async def browse(url: str) -> None:
        nonlocal asked
        asked += 1
        async with httpx2.AsyncClient(verify=trust, timeout=20, follow_redirects=True) as browser:
            page = await browser.get(url)
            assert page.status_code == 200, page.text
            form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text))
            form |= {"decision": "allow", "password": PASSWORD}
            origin = {"Origin": "https://mcp.test"}
            done = await browser.post("https://mcp.test/consent", data=form, headers=origin)
            [back] = re.findall(r'<a href="([^"]+)"', done.text)
            for _ in range(200):  # the client opens its port while it waits
                try:
                    await browser.get(unescape(back))
                    return
                except httpx2.ConnectError:
                    await asyncio.sleep(0.05)
        raise AssertionError(f"nobody listens at {back}")

    async def call() -> str:
        transport = StreamableHttpTransport(URL, auth=Visitor(storage, browse), verify=trust)
        async with Client(transport) as mcp:
            answer = await mcp.call_tool("status", {})
            return json.dumps(answer.structured_content)

    async def revoke() -> None:
        kept = await storage.get(f"{URL}/tokens", collection="mcp-oauth-token")
        about = await storage.get(f"{URL}/client_info", collection="mcp-oauth-client-info")
        assert kept is not None
        assert about is not None
        form = {"token": kept["refresh_token"], "client_id": about["client_id"]}
        async with httpx2.AsyncClient(verify=trust, timeout=20) as http:
            assert (await http.post("https://mcp.test/revoke", data=form)).status_code == 200
            headers = {"Authorization": f"Bearer {kept['access_token']}"}
            assert (await http.post(URL, json={}, headers=headers)).status_code == 401

    with names_of({"mcp.test": TARGET6}):
        assert '"version"' in asyncio.run(call())
        assert asked == 1
        owned.check_output(RESTART)
        assert '"version"' in asyncio.run(call())
        assert asked == 1, "a restart asked for the password again"
        asyncio.run(revoke())
        asyncio.run(call())
        assert asked == 2, "a revoked client came in without the owner"
    journal = owned.check_output("journalctl -u codeintel.service -u 'codeintel@*.service' -o cat")
    assert "Running on" in journal  # it is what the instances say
    assert PASSWORD not in journal
