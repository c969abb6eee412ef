# ruff: noqa: S603 (fixed programs, no shell)
"""Measure the index on a source tree, beside ripgrep and code-index-mcp where they are installed.

    python bench/index/run.py CORPUS QUESTIONS [--peers FOLDER] [--model FOLDER]

CORPUS is a source tree, QUESTIONS a JSON file {"questions": [{"query", "files"}]}. The folder of
the peers has the executables of the others in its bin; that of the model is one of `codeintel index
--semantic`, and adds minutes. Prints a table on stderr and JSON on stdout.
"""

import argparse
import asyncio
import json
import math
import os
import platform
import random
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from codeintel.context import create_context
from codeintel.directory import IndexDirectory
from codeintel.grep import compile_pattern, grep
from codeintel.indexer import build_index
from codeintel.search import by_words
from codeintel.settings import Settings
from codeintel.store import Index, index_path
from fastmcp import Client
from fastmcp.client.transports import StdioTransport

NAME = "corpus"
PROTOCOL = "2026-07-28"
CHARACTERS_A_TOKEN = 4
PAGE = 50
SAMPLE = 60
SHORTEST = 4  # characters of a word that says something
QUESTIONS_TOP = 10
ABSENT = "zqxj_absent_{}"

# In a process of its own, for its peak memory.
BUILD = """
import json, resource, sys, time
from pathlib import Path
from codeintel.indexer import build_index
start, cpu = time.perf_counter(), time.process_time()
built = build_index(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
print(json.dumps({
    "seconds": time.perf_counter() - start,
    "cpu_seconds": time.process_time() - cpu,
    "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "files": built.files,
    "text_mb": built.size / 1e6,
}))
"""

Pattern = tuple[str, bool]
"""A regular expression, and whether it ignores case."""


def main() -> None:
    """Measure, and print what came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--peers", type=Path, default=Path(".cache/bench-index"))
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()
    questions = json.loads(options.questions.read_text())["questions"]
    with tempfile.TemporaryDirectory() as temporary:
        tree = Path(temporary, "tree")
        shutil.copytree(options.corpus, tree, symlinks=True)
        indexes = Path(temporary, "indexes")
        results, patterns = measure_codeintel(tree, indexes, questions)
        results["codeintel over HTTP"] = measure_over_http(indexes, patterns, questions)
        if options.model:
            results["codeintel with vectors"] = measure_vectors(
                tree, indexes, options.model, questions
            )
        peers = options.peers.resolve() / "bin"
        if ripgrep := shutil.which("rg") or shutil.which(peers / "rg"):
            results["ripgrep"] = measure_ripgrep(ripgrep, tree, patterns, questions)
        if (peers / "code-index-mcp").exists():
            results["code_index_mcp"] = asyncio.run(measure_code_index_mcp(peers, tree, patterns))
    print_table(results)
    print(json.dumps(results, indent=1))


def measure_codeintel(
    tree: Path, indexes: Path, questions: Sequence[dict[str, Any]]
) -> tuple[dict[str, Any], list[Pattern]]:
    """Return the figures of this project, and the patterns that were searched for."""
    command = [sys.executable, "-c", BUILD, str(tree), NAME, str(indexes)]
    built = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    file_mb = index_path(indexes, NAME).stat().st_size / 1e6
    with IndexDirectory(indexes).open(NAME) as index:
        patterns = choose_patterns(index)
        names = [text for text, _ in patterns[:40]]
        found = {
            "grep_first_page": timed(lambda p: first_page(index, p), patterns),
            "symbol_exact": timed(index.symbols, names),
            "symbol_like": timed(
                lambda name: index.similar_symbols(name[:6], lambda _: True), names
            ),
            "references": timed(index.references, names),
            "ranked": timed(lambda q: index.ranked(q["query"], limit=10), questions),
        }
        ndcg = mean(
            gain((r.path for r in index.ranked(q["query"], limit=100)), q["files"])
            for q in questions
        )
        some = next(path for path in index.paths() if path.endswith((".py", ".go", ".js", ".c")))
    return {
        "codeintel": {
            "version": version("codeintel"),
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
            "build": built | {"file_mb": file_mb, "file_to_text": file_mb / built["text_mb"]},
            "refresh": refresh(tree, indexes, tree / some),
            "ndcg_at_10": ndcg,
            **found,
        }
    }, patterns


def measure_over_http(
    indexes: Path, patterns: Sequence[Pattern], questions: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Call the tools of a server on loopback, over one connection, one after the other."""
    names = [text for text, _ in patterns[:40]]
    tokens: list[float] = []
    with served(indexes) as connection:

        def call(tool: str) -> Callable[[dict[str, Any]], None]:
            def ask(arguments: dict[str, Any]) -> None:
                tokens.append(len(post(connection, tool, arguments)) / CHARACTERS_A_TOKEN)

            return ask

        greps = [{"pattern": text, "ignore_case": ignore} for text, ignore in patterns]
        figures = {
            "grep_first_page": timed(call("grep"), greps),
            "symbol_exact": timed(call("symbols"), [{"name": name} for name in names]),
            "references": timed(call("references"), [{"name": name} for name in names]),
            "search": timed(call("search"), [{"query": q["query"]} for q in questions]),
        }
    return {**figures, "tokens_an_answer": mean(tokens)}


@contextmanager
def served(indexes: Path) -> Iterator[HTTPConnection]:
    """Yield a connection to `codeintel serve`. Exits when it does not answer in a minute."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = "{}:{}".format(*listener.getsockname())
    command = [shutil.which("codeintel") or "codeintel", "serve", "--bind", address]
    settings = {"CODEINTEL_INDEX_DIR": str(indexes), "CODEINTEL_RATE_LIMIT": ""}
    settings |= {"CODEINTEL_AUTH": "none"}
    with subprocess.Popen(command, env=os.environ | settings, stderr=subprocess.DEVNULL) as server:
        try:
            connection = HTTPConnection(address, timeout=60)
            deadline = time.monotonic() + 60
            while True:
                try:
                    post(connection, "status", {})
                    break
                except OSError:
                    connection.close()
                    if time.monotonic() > deadline:
                        sys.exit("the server does not answer")
                    time.sleep(0.1)
            yield connection
        finally:
            server.terminate()


def post(connection: HTTPConnection, tool: str, arguments: dict[str, Any]) -> str:
    """Return the text that `tool` answers. Exits for an error, which is nothing to measure."""
    about = "io.modelcontextprotocol/"
    meta = {
        f"{about}protocolVersion": PROTOCOL,
        f"{about}clientInfo": {"name": "bench", "version": "0"},
        f"{about}clientCapabilities": {},
    }
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    head = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": PROTOCOL,
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
    }
    connection.request("POST", "/mcp", json.dumps(body), head)
    answer = json.loads(connection.getresponse().read())
    if "result" not in answer or answer["result"].get("isError"):
        sys.exit(f"{tool} {arguments}: {answer}")
    text: str = answer["result"]["content"][0]["text"]
    return text


def measure_vectors(
    tree: Path, indexes: Path, model: Path, questions: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Add vectors to the index, and rank by words and meaning as `search` does."""
    begin = time.perf_counter()
    build_index(tree, NAME, indexes, model=model)
    seconds = time.perf_counter() - begin
    context = create_context(Settings(index_dir=indexes, model_dir=model))
    context.encoder.load()
    with context.indexes.open(NAME) as index:

        def rank(question: dict[str, Any]) -> float:
            return gain(
                (one.path for one in by_words(context, index, question["query"], None)),
                question["files"],
            )

        return {
            "seconds": seconds,
            "ranked": timed(rank, questions),
            "ndcg_at_10": mean(map(rank, questions)),
        }


def choose_patterns(index: Index) -> list[Pattern]:
    """Return 100 patterns as an agent sends them, made of the corpus's own words."""
    chance = random.Random(5)  # noqa: S311 (the same choice every time)
    paths = index.paths()
    names: list[str] = []
    while len(names) < SAMPLE:
        names += [s.name for s in index.outline(chance.choice(paths))][:3]
    names = [name for name in names if len(name) >= SHORTEST]
    words: list[str] = []
    while len(words) < SAMPLE:
        found = re.findall(r"[A-Za-z_]{4,}", index.content(chance.choice(paths)).decode())
        words += chance.sample(found, min(3, len(found)))
    pick: Callable[[list[str]], str] = chance.choice
    return [
        *((pick(names), False) for _ in range(40)),
        *((pick(words), False) for _ in range(10)),
        *((rf"\b{pick(names)}\(", False) for _ in range(10)),
        *((pick(names).upper(), True) for _ in range(10)),
        *((f"{pick(names)}|{pick(names)}", False) for _ in range(10)),
        *((f"{pick(words)}.*{pick(words)}", False) for _ in range(10)),
        *((ABSENT.format(n), False) for n in range(5)),
        (r"\bif\b", False),
        (r"^\s*#", False),
        (r"\d{4}-\d\d-\d\d", False),
        (r"\w+ = \w+\(\)$", False),
        (r"T(?:ODO|BD)", True),
    ]


def first_page(index: Index, pattern: Pattern) -> None:
    """Search for the first hits."""
    text, ignore_case = pattern
    compiled = compile_pattern(text, ignore_case=ignore_case)
    list(islice(grep(index, compiled), PAGE))


def refresh(tree: Path, indexes: Path, file: Path) -> dict[str, float]:
    """Change a file and index again, nine times."""

    def change(number: int) -> None:
        with file.open("a") as text:
            text.write(f"# change {number}\n")
        build_index(tree, NAME, indexes)

    build_index(tree, NAME, indexes)  # the copy is too fresh for the first to trust its stamps
    return timed(change, range(9))


def measure_ripgrep(
    program: str, tree: Path, patterns: Sequence[Pattern], questions: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Search all files for all hits with a process each, as ripgrep has no pages."""

    def search(pattern: Pattern) -> None:
        text, ignore_case = pattern
        flags = ["--ignore-case"] if ignore_case else []
        command = [program, "--line-number", "--no-heading", *flags, "--", text, str(tree)]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)

    def count_words(query: str) -> list[str]:
        counts: Counter[str] = Counter()
        for word in {w for w in re.findall(r"\w+", query) if len(w) >= SHORTEST}:
            command = [program, "--count", "--ignore-case", "--no-messages", "--", word, "."]
            done = subprocess.run(command, cwd=tree, check=False, capture_output=True, text=True)
            for line in done.stdout.splitlines():
                path, _, count = line.rpartition(":")
                counts[path.removeprefix("./")] += int(count)
        return [path for path, _ in counts.most_common(QUESTIONS_TOP)]

    first_line = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    return {
        "version": first_line.stdout.partition("\n")[0],
        "grep_all_hits": timed(search, patterns),
        "ndcg_at_10": mean(gain(count_words(q["query"]), q["files"]) for q in questions),
    }


async def measure_code_index_mcp(
    peers: Path, tree: Path, patterns: Sequence[Pattern]
) -> dict[str, Any]:
    """Build its index and search with it through its own protocol on standard streams."""
    transport = StdioTransport(str(peers / "code-index-mcp"), [])
    async with Client(transport) as client:
        start = time.perf_counter()
        await client.call_tool("set_project_path", {"path": str(tree)})
        await client.call_tool("build_deep_index", {})
        seconds = time.perf_counter() - start
        times, sizes, failed = [], [], 0
        for text, ignore_case in patterns:
            begin = time.perf_counter()
            answer = await client.call_tool(
                "search_code_advanced",
                {"pattern": text, "case_sensitive": not ignore_case, "regex": True},
                raise_on_error=False,
            )
            times.append(time.perf_counter() - begin)
            failed += answer.is_error
            sizes.append(sum(len(getattr(part, "text", "")) for part in answer.content))
    [dist_info] = peers.parent.glob("lib/*/site-packages/code_index_mcp-*.dist-info")
    return {
        "version": dist_info.stem.partition("-")[2],
        "build": {"seconds": seconds},
        "grep_first_page": spread(times),
        "answer_characters": mean(sizes),
        "failed": failed,
    }


def gain(ranked: Iterable[str], wanted: Sequence[str]) -> float:
    """Return NDCG at 10 of files in the order of their first place in `ranked`."""
    order = list(dict.fromkeys(ranked))[:QUESTIONS_TOP]
    found = sum(1 / math.log2(at + 2) for at, path in enumerate(order) if path in wanted)
    best = sum(1 / math.log2(at + 2) for at in range(min(len(wanted), QUESTIONS_TOP)))
    return found / best


def timed(call: Callable[[Any], object], arguments: Iterable[Any]) -> dict[str, float]:
    """Return how long the calls took, and how much of it they computed: others may be running."""
    times, computed = [], []
    for argument in arguments:
        begin, cpu = time.perf_counter(), time.process_time()
        call(argument)
        times.append(time.perf_counter() - begin)
        computed.append(time.process_time() - cpu)
    cpu_times = {f"cpu_{name}": value for name, value in spread(computed).items()}
    return spread(times) | cpu_times


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Return median, 99th percentile and maximum in milliseconds."""
    ordered = sorted(seconds)
    at = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
    return {k: 1000 * ordered[math.ceil(q * len(ordered)) - 1] for k, q in at.items()}


def mean(values: Iterable[float]) -> float:
    """Return the mean."""
    every = list(values)
    return sum(every) / len(every)


def print_table(results: dict[str, Any]) -> None:
    """Print a line for each figure."""

    def show(value: object) -> str:
        if isinstance(value, dict):
            return "  ".join(f"{key} {show(one)}" for key, one in value.items())
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    for product, figures in results.items():
        print(product, file=sys.stderr)
        for name, value in figures.items():
            print(f"  {name:<18} {show(value)}", file=sys.stderr)


if __name__ == "__main__":
    main()
