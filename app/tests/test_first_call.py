"""What the first call of a process does once must not be long: all others wait for it."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import asyncio, sys
import httpx2
from codeintel.app import create_app
from codeintel.settings import Settings

BOTH = {"accept": "application/json, text/event-stream"}
STEPS = [
    ("initialize", 1, {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "x", "version": "1"},
    }),
    ("notifications/initialized", None, {}),
    ("tools/list", 2, {}),
    ("tools/call", 3, {"name": "status", "arguments": {}}),
]

async def main():
    app = create_app(Settings(index_dir=sys.argv[1], auth="none"))
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        await client.get("/api/livez")
        before = set(sys.modules)
        headers = dict(BOTH)
        for method, number, params in STEPS:
            message = {"jsonrpc": "2.0", "method": method, "params": params}
            answer = await client.post(
                "/mcp", headers=headers, json=message | ({"id": number} if number else {})
            )
            assert answer.status_code in (200, 202), answer.text
            if "mcp-session-id" in answer.headers:
                headers["mcp-session-id"] = answer.headers["mcp-session-id"]
        assert '"result"' in answer.text, answer.text
        print(*sorted(set(sys.modules) - before))

asyncio.run(main())
"""


def test_a_session_imports_next_to_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    imported = run.stdout.split()
    assert len(imported) < 20, imported
