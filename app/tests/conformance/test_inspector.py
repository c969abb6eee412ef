"""The inspector's command line, against the product."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_process import serving
from node_tools import INSPECTOR


def inspect(url: str, home: Path, *arguments: str) -> tuple[Any, str]:
    """Return what the command prints, as JSON, and what it says beside."""
    command = [*INSPECTOR, url, "--transport", "http", *arguments]
    environment = {"HOME": str(home), "NO_COLOR": "1"}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_the_inspector_lists_and_calls_the_tools(
    index: Callable[..., object], index_dir: Path, tmp_path: Path
) -> None:
    index({"a.py": "needle\n"}, "main")
    environment = {"CODEINTEL_INDEX_DIR": str(index_dir)}
    with serving("codeintel.asgi:app", tmp_path, **environment) as url:
        # Strict fails on a schema that some client cannot read.
        listed, said = inspect(url, tmp_path, "--method", "tools/list", "--strict")
        assert {"grep", "read", "status"} <= {tool["name"] for tool in listed["tools"]}, said
        call = ["--method", "tools/call", "--tool-name", "grep", "--tool-arg", "pattern=needle"]
        called, _ = inspect(url, tmp_path, *call)
        assert "needle" in called["content"][0]["text"]
        assert not called.get("isError")
