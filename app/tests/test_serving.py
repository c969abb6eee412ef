import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
from codeintel.errors import CodeintelError
from codeintel.serving import serve
from starlette.applications import Starlette

MAIN = "import sys; {} from codeintel.cli import main; sys.exit(main(sys.argv[1:]))"


def test_whichever_server_is_there(
    index: Callable[..., object], index_dir: Path, tmp_path: Path
) -> None:
    index({"a.py": "1"}, "main")
    environment = os.environ | {"CODEINTEL_INDEX_DIR": str(index_dir)}
    with ExitStack() as stack:
        servers: dict[Path, subprocess.Popen[str]] = {}
        for without in ("", "sys.modules['hypercorn'] = None;"):
            socket = tmp_path / f"{len(servers)}"
            command = [sys.executable, "-c", MAIN.format(without), "serve"]
            server = subprocess.Popen(
                [*command, "--bind", f"unix:{socket}"],
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
            servers[socket] = stack.enter_context(server)
            stack.callback(server.kill)
        for socket, server in servers.items():
            assert server.stderr is not None
            for line in server.stderr:
                assert json.loads(line)["message"]  # the server logs as the application does
                if "unning on" in line:
                    break
            transport = httpx2.HTTPTransport(uds=str(socket))
            with httpx2.Client(transport=transport, base_url="http://localhost") as client:
                assert client.get("/api/readyz").status_code == 200
            server.terminate()
            # Uvicorn ends by the signal that it was sent, once all is done.
            assert server.wait(60) in {0, -signal.SIGTERM}
            assert '"stopped"' in server.stderr.read()


def test_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("hypercorn", "uvicorn"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(CodeintelError, match="install hypercorn or uvicorn"):
        serve(Starlette(), "127.0.0.1:8000")


@pytest.mark.parametrize("bind", ["", "localhost", ":x", "8000"])
def test_an_address_that_is_none(bind: str) -> None:
    with pytest.raises(CodeintelError, match="give HOST:PORT or unix:PATH"):
        serve(Starlette(), bind)
