import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from codeintel.app import create_app
from codeintel.context import ApplicationContext
from codeintel.directory import IndexDirectory
from codeintel.indexer import BuildSummary, build_index
from codeintel.settings import Settings
from fastmcp import FastMCP
from starlette.applications import Starlette

Files = dict[str, str | bytes]

# Of the servers that fixtures start; those of one test, see below.
os.environ["CODEINTEL_AUTH"] = "none"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("CODEINTEL_") or name in {"CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CODEINTEL_AUTH", "none")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    # The application takes the root logger over; its handler writes to a stream of this test.
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def index_dir(tmp_path: Path) -> Path:
    return tmp_path / "indexes"


@pytest.fixture
def write_tree(tmp_path: Path) -> Callable[[Files, str], Path]:
    def write(files: Files, name: str = "tree") -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for path, content in files.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        return root

    return write


@pytest.fixture
def index(
    write_tree: Callable[[Files, str], Path], index_dir: Path
) -> Callable[[Files, str], BuildSummary]:
    def build(files: Files, name: str) -> BuildSummary:
        return build_index(write_tree(files, f"tree-{name}"), name, index_dir)

    return build


@pytest.fixture
def settings(index_dir: Path) -> Settings:
    return Settings(
        public_url="https://mcp.example.com",
        index_dir=index_dir,
        auth="none",
        allow_public_without_auth=True,
    )


@pytest.fixture
def context(settings: Settings) -> ApplicationContext:
    return ApplicationContext("1.2.3", settings, IndexDirectory(settings.index_dir))


@asynccontextmanager
async def _running(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        yield client


@pytest.fixture
def serve(
    settings: Settings,
) -> Callable[[FastMCP | None], AbstractAsyncContextManager[httpx2.AsyncClient]]:
    """Run the composite in process; requests come from loopback, as from a local proxy."""

    def run(server: FastMCP | None = None) -> AbstractAsyncContextManager[httpx2.AsyncClient]:
        return _running(create_app(settings, server))

    return run


@pytest.fixture
def run() -> Callable[[Starlette], AbstractAsyncContextManager[httpx2.AsyncClient]]:
    """Run an application in process."""
    return _running
