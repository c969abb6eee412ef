"""Chromium without a screen, driven by its DevTools protocol over a pipe.

It needs nothing beside Chromium and, where it shall trust a certificate, certutil (libnss3-tools).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAM = "/usr/bin/chromium"
PATIENCE = 30  # seconds for an answer: the first start on a busy machine takes some
LIMIT = 64 << 20  # of one message; screenshots are large
# Without a sandbox of its own, as it runs as root; the rest keeps it from asking elsewhere.
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--no-proxy-server", "--hide-scrollbars", "--remote-debugging-pipe"),
]


class BrowserError(Exception):
    """What Chromium, or a script in a page, said was wrong."""


@dataclass
class Page:
    """A page, with all that it has reported."""

    reader: asyncio.StreamReader
    pipe: int  # to write to
    session: str = ""
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _ids: Iterable[int] = field(default_factory=lambda: itertools.count(1))
    _answers: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        message: dict[str, Any] = {"id": next(iter(self._ids)), "method": method}
        message["params"] = parameters
        if self.session:
            message["sessionId"] = self.session
        answer = asyncio.get_running_loop().create_future()
        self._answers[message["id"]] = answer
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.pipe, data) :]
        return await asyncio.wait_for(answer, PATIENCE)

    async def evaluate(self, expression: str) -> Any:  # noqa: ANN401 - whatever the script returned
        """Run a script in the page, as if the visitor had clicked, and return what it gives."""
        answer = await self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        if "exceptionDetails" in answer:
            raise BrowserError(answer["exceptionDetails"])
        return answer["result"].get("value")

    async def visit(self, url: str) -> None:
        """Go to an address and wait until all of it has loaded."""
        seen = len(self.events)
        answer = await self.call("Page.navigate", url=url)
        if "errorText" in answer:
            raise BrowserError(f"{url}: {answer['errorText']}")
        await self.happened("Page.loadEventFired", after=seen)

    async def happened(self, method: str, *, after: int = 0, **about: object) -> dict[str, Any]:
        """Wait for an event about this, and return it; `after` is how many do not count."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for name, event in self.events[after:]:
                    if name == method and about.items() <= event.items():
                        return event
                self._news.clear()
                await self._news.wait()

    def complaints(self) -> list[str]:
        """Return what stands in the console as an error or a warning, and broken policies."""
        found = []
        for method, event in self.events:
            if method == "Runtime.exceptionThrown":
                found.append(json.dumps(event["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled" and event["type"] in {"error", "warning"}:
                found.append(json.dumps(event["args"]))
            elif method == "Log.entryAdded" and event["entry"]["level"] in {"error", "warning"}:
                found.append(event["entry"]["text"])
            elif method == "Audits.issueAdded":
                found.append(json.dumps(event["issue"]))
        return found

    async def listen(self) -> None:
        """Take in what Chromium says, until it ends."""
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                message = json.loads((await self.reader.readuntil(b"\0"))[:-1])
                if "id" not in message:
                    self.events.append((message["method"], message["params"]))
                    self._news.set()
                    continue
                answer = self._answers.pop(message["id"])
                if answer.done():
                    continue  # nobody waits for it any more
                if "error" in message:
                    answer.set_exception(BrowserError(message["error"]["message"]))
                else:
                    answer.set_result(message["result"])
        for answer in self._answers.values():
            answer.cancel()


@contextlib.asynccontextmanager
async def page(*flags: str, root: str | None = None) -> AsyncIterator[Page]:
    """Start Chromium with an empty profile and open a page; it trusts the certificate `root`."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        if root is not None:
            _trust(Path(home), root)
        to_read, to_write = _pipe()
        from_read, from_write = _pipe()
        command = [PROGRAM, *FLAGS, f"--user-data-dir={home}/profile", *flags, "about:blank"]
        # Chromium reads from file 3 and writes to file 4; the shell puts them there.
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", f'exec "$@" 3<&{to_read} 4>&{from_write}', "bash", *command),
            env=os.environ | {"HOME": home},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            pass_fds=(to_read, from_write),
        )
        # Only Chromium shall hold its ends, so that its end is the end of the pipes.
        os.close(to_read)
        os.close(from_write)
        reader = asyncio.StreamReader(limit=LIMIT)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(from_read, "rb")
        )
        opened = Page(reader, to_write)
        listening = asyncio.create_task(opened.listen())
        try:
            target = await opened.call("Target.createTarget", url="about:blank")
            attached = await opened.call("Target.attachToTarget", **target, flatten=True)
            opened.session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Audits"):
                await opened.call(f"{domain}.enable")
            yield opened
        finally:
            os.close(to_write)  # at which Chromium ends
            try:
                await asyncio.wait_for(process.wait(), PATIENCE)
            except TimeoutError:
                process.kill()
            listening.cancel()


def _pipe() -> tuple[int, int]:
    """Return the ends of a pipe, with numbers that are not in the way of 3 and 4."""
    ends = os.pipe()
    read, write = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return read, write


def _trust(home: Path, root: str) -> None:
    database = home / ".pki/nssdb"
    database.mkdir(parents=True)
    where = ["-d", f"sql:{database}"]
    subprocess.run(["certutil", "-N", "--empty-password", *where], check=True)
    subprocess.run(["certutil", "-A", "-n", "lab", "-t", "C,,", "-i", root, *where], check=True)
