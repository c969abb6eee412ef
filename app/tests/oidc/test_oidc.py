"""The mode `oidc`, from end to end against a provider that is not ours."""

from collections.abc import Callable
from pathlib import Path

import pytest
from codeintel.settings import Settings
from key_value.aio.stores.memory import MemoryStore
from oidc_lab import SECRET, Browser, call_tool, free_port, provider, serving
from pydantic import SecretStr

pytestmark = pytest.mark.anyio


@pytest.fixture
def edge(
    index: Callable[..., object], index_dir: Path, tmp_path: Path
) -> Callable[..., Settings]:
    """Make the settings of one place, which is there again after a restart."""
    index({"a.py": "needle\n"}, "main")
    public_url = f"http://127.0.0.1:{free_port()}"

    def settings(issuer: str = "", *allowed: str, secret: str = SECRET) -> Settings:
        return Settings(
            public_url=public_url,
            index_dir=index_dir,
            state_dir=tmp_path / "state",
            oidc_issuer=issuer,
            oidc_client_id="edge",
            oidc_client_secret=SecretStr(secret),
            oidc_allowed=list(allowed),
        )

    return settings


@pytest.mark.parametrize("claims_in_token", [True, False])
async def test_who_is_on_the_list_calls_tools(edge: Callable[..., Settings], claims_in_token: bool) -> None:
    with provider(f"{edge().public_url}/auth/callback", claims_in_token=claims_in_token) as (issuer, _):
        async with serving(edge(issuer, "alice@example.com")) as url:
            assert "needle" in await call_tool(url, Browser("alice"), MemoryStore())
