"""The mode in the service as it is started: settings, a credential, the server of the role."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from codeintel.cli import main
from edge_process import EDGE
from key_value.aio.stores.memory import MemoryStore
from oidc_lab import SECRET, Browser, call_tool, free_port, provider


@contextmanager
def service(issuer: str, origin: str, folder: Path, index_dir: Path) -> Iterator[None]:
    config, log, credentials = (folder / name for name in ("edge.toml", "log", "credentials"))
    config.write_text(f'bind = "{origin.removeprefix("http://")}"\n')
    credentials.mkdir()
    (credentials / "codeintel_oidc_client_secret").write_text(SECRET)
    environment = {
        "CREDENTIALS_DIRECTORY": str(credentials),
        "STATE_DIRECTORY": str(folder / "state"),
        "CODEINTEL_AUTH": "oidc",
        "CODEINTEL_INDEX_DIR": str(index_dir),
        "CODEINTEL_PUBLIC_URL": origin,
        "CODEINTEL_OIDC_ISSUER": issuer,
        "CODEINTEL_OIDC_CLIENT_ID": "edge",
        "CODEINTEL_OIDC_ALLOWED": json.dumps(["alice@example.com"]),
    }
    command: list[str | Path] = [sys.executable, EDGE, "--config", config, "codeintel.asgi:app"]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr, env=os.environ | environment)
    try:
        transport = httpx2.HTTPTransport(retries=9)
        with httpx2.Client(transport=transport, timeout=30) as client:
            assert client.get(f"{origin}/api/livez").status_code == 200
        yield
    finally:
        process.terminate()
        assert process.wait(20) == 0
    assert "Traceback" not in log.read_text()
    assert SECRET not in log.read_text()


@pytest.mark.anyio
@pytest.mark.filterwarnings("ignore:Using in-memory token storage")
async def test_the_service_lets_in_who_is_on_the_list(
    index: Callable[..., object], index_dir: Path, tmp_path: Path
) -> None:
    index({"a.py": "needle\n"}, "main")
    origin = f"http://127.0.0.1:{free_port()}"
    with (
        provider(f"{origin}/auth/callback") as (issuer, _),
        service(issuer, origin, tmp_path, index_dir),
    ):
        found = await call_tool(f"{origin}/mcp", Browser("alice"), MemoryStore())
        assert "needle" in found


def test_a_start_without_the_provider_says_so_in_a_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CODEINTEL_AUTH", "oidc")
    monkeypatch.setenv("CODEINTEL_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("CODEINTEL_OIDC_ISSUER", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("CODEINTEL_OIDC_CLIENT_ID", "edge")
    monkeypatch.setenv("CODEINTEL_OIDC_CLIENT_SECRET", SECRET)
    monkeypatch.setenv("CODEINTEL_OIDC_ALLOWED", '["alice"]')
    assert main(["serve"]) == 1
    said = capsys.readouterr().err
    assert "does not answer" in said
    assert said.count("\n") == 1
