"""The server of the hypercorn_service role as a process of a test."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
EDGE = HERE.parents[2] / "roles/hypercorn_service/files/hypercorn_edge/src"


@contextmanager
def serving(application: str, folder: Path, **environment: str) -> Iterator[str]:
    """Run the server of the hypercorn_service role on a TCP port; yield the address of /mcp."""
    log = folder / "server.log"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # The kernel queues connections until the application has started.
        port = listener.getsockname()[1]
        config = folder / "edge.toml"
        config.write_text(f'bind = "fd://{listener.fileno()}"\n')
        own = {
            "PYTHONPATH": str(HERE),
            "CODEINTEL_PUBLIC_URL": f"http://127.0.0.1:{port}",
            "CODEINTEL_RATE_LIMIT": "",
        }
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, EDGE, "--config", config, application],
                pass_fds=[listener.fileno()],
                stderr=stderr,
                cwd=folder,
                env=os.environ | own | environment,
            )
    try:
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        assert process.wait(10) == 0
    assert "Traceback" not in log.read_text()
