"""What somebody learns who is not let in."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx2
import pytest
from codeintel import __version__
from codeintel.app import create_app
from codeintel.auth.passwords import hash_password
from codeintel.auth.store import AuthStore
from codeintel.auth.tokens import add_token
from codeintel.settings import Settings
from codeintel.store import index_path
from pydantic import SecretStr
from starlette.applications import Starlette

pytestmark = pytest.mark.anyio

SECRETS = ("skunkworks", "broken-one", "stealth", __version__)
OPEN = [*("/", "/api/livez", "/api/readyz", "/api/openapi.json", "/nowhere")]
OPEN += ["/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource/mcp"]


@pytest.fixture
async def client(
    index: Callable[..., object],
    index_dir: Path,
    tmp_path: Path,
    run: Callable[[Starlette], AbstractAsyncContextManager[httpx2.AsyncClient]],
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client from outside, and an index that is nobody's business."""
    index({"stealth.py": "secret = 1"}, "skunkworks")
    index_path(index_dir, "broken-one").write_bytes(b"")
    settings = Settings(
        public_url="https://mcp.example.com",
        index_dir=index_dir,
        state_dir=tmp_path,
        auth="owner",
        owner_password=SecretStr(hash_password("the owner's password")),
    )
    async with run(create_app(settings)) as client:
        client.base_url = httpx2.URL("https://mcp.example.com")
        yield client


@pytest.mark.parametrize("path", OPEN)
async def test_no_open_path_names_what_is_indexed(client: httpx2.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == (404 if path == "/nowhere" else 200)
    assert [secret for secret in SECRETS if secret in answer.text] == []


async def test_who_has_a_token_reads_each_check(client: httpx2.AsyncClient, tmp_path: Path) -> None:
    token = add_token(AuthStore(tmp_path), "monitor", None)
    answer = await client.get("/api/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})
    bearer = {"Authorization": f"Bearer {token}"}
    checks = (await client.get("/api/readyz", headers=bearer)).json()["checks"]
    assert checks["index:skunkworks"]["ok"]
    assert "broken-one" in checks["index:broken-one"]["reason"]
