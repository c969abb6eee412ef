"""The ``codeintel`` command."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from codeintel import __version__
from codeintel.errors import CodeintelError
from codeintel.indexer import build_index
from codeintel.settings import load_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 after a one-line message on stderr."""
    options = _parser().parse_args(arguments)
    try:
        _index(options)
    except (CodeintelError, OSError) as error:
        print(f"codeintel: {error}", file=sys.stderr)
        return 1
    return 0


def _index(options: argparse.Namespace) -> None:
    started = time.monotonic()
    index_dir: Path = options.index_dir or load_settings().index_dir
    summary = build_index(options.path, options.name, index_dir)
    skipped = ", ".join(f"{count} {reason}" for reason, count in sorted(summary.skipped.items()))
    print(
        f"indexed {options.name}: {summary.files} files, {summary.size / 1e6:.1f} MB"
        f" in {time.monotonic() - started:.1f} s; skipped: {skipped or 'none'}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="codeintel", description="Build the indexes that the codeintel MCP server serves."
    )
    parser.add_argument("--version", action="version", version=f"codeintel {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    index = commands.add_parser(
        "index",
        help="build or replace the index of one source tree",
        description="Index the text files under PATH and replace the index called NAME in one"
        " step; a running server notices by itself. In a git work tree the files are those"
        " that git does not ignore. Binary, large, secret-looking and non-UTF-8 files and"
        " links are skipped and counted.",
    )
    index.add_argument("path", metavar="PATH", type=Path, help="root of the source tree")
    index.add_argument("--name", required=True, help="name of the repository in the tools")
    index.add_argument(
        "--index-dir",
        type=Path,
        metavar="DIR",
        help="where indexes live (default: CODEINTEL_INDEX_DIR, else $STATE_DIRECTORY/indexes,"
        " else ./indexes)",
    )
    return parser
