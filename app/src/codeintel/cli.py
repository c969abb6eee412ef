"""The ``codeintel`` command."""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from codeintel import __version__
from codeintel.context import ApplicationContext, create_context
from codeintel.doctor import diagnose, verdict
from codeintel.errors import CodeintelError
from codeintel.indexer import BuildSummary, build_index
from codeintel.progress import show_progress
from codeintel.settings import LOOPBACK, PREFIX, Settings, load_settings

if TYPE_CHECKING:
    from codeintel.auth.store import AuthStore


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code, 1 after a one-line message on stderr."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (CodeintelError, OSError) as error:
        print(f"codeintel: {error}", file=sys.stderr)
        return 1
    return code


def _index(options: argparse.Namespace) -> int:
    # A stop leaves no half of an index behind.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    settings = _settings(options)
    model = options.model or settings.model_dir
    if options.model and not options.semantic:
        raise CodeintelError("--model does nothing alone; add --semantic")
    if options.semantic and model is None:
        raise CodeintelError("--semantic needs a model; give --model DIR or CODEINTEL_MODEL_DIR")

    def build() -> BuildSummary:
        started = time.monotonic()
        summary = build_index(
            options.path,
            options.name,
            settings.index_dir,
            show_progress(sys.stderr),
            scip=options.scip,
            model=model if options.semantic else None,
        )
        print(_report(options.name, summary, time.monotonic() - started), flush=True)
        return summary

    if options.watch:
        from codeintel.watching import watch_index  # noqa: PLC0415 (see _serve)

        for _ in watch_index(build, options.path, settings.index_dir):
            pass
    else:
        build()
    return 0


def _report(name: str, summary: BuildSummary, seconds: float) -> str:
    skipped = ", ".join(f"{count} {reason}" for reason, count in sorted(summary.skipped.items()))
    stale = f"; {summary.stale} stale occurrences" if summary.stale else ""
    return (
        f"indexed {name}: {summary.files} files, {summary.size / 1e6:.1f} MB in {seconds:.1f} s,"
        f" {summary.changed} changed; skipped: {skipped or 'none'}{stale}"
    )


def _serve(options: argparse.Namespace) -> int:
    # The other commands start in a fifth of the time without these.
    from codeintel.app import create_app  # noqa: PLC0415
    from codeintel.serving import serve  # noqa: PLC0415

    settings = _settings(options)
    _refuse_strangers(settings, options.bind)
    serve(create_app(settings), options.bind)
    return 0


def _refuse_strangers(settings: Settings, bind: str) -> None:
    """Raise CodeintelError if whoever reaches `bind` would get in: a Host is easily made up."""
    near = bind.startswith("unix:") or bind.rpartition(":")[0].strip("[]") in LOOPBACK
    if settings.auth == "none" and not (near or settings.allow_public_without_auth):
        raise CodeintelError(
            f"{PREFIX}AUTH=none would let in everybody who reaches {bind}; bind 127.0.0.1, choose"
            f" owner, tokens or oidc, or set {PREFIX}ALLOW_PUBLIC_WITHOUT_AUTH=true"
        )


def _doctor(options: argparse.Namespace) -> int:
    context = _context(options)
    checks = list(diagnose(context, options.tree))
    print(*checks, sep="\n")
    return verdict(context, checks)


def _query(options: argparse.Namespace) -> int:
    from codeintel.trial import call_tool  # noqa: PLC0415 (see _serve)

    arguments = {}
    for pair in options.arguments:
        name, equals, value = pair.partition("=")
        if not equals:
            raise CodeintelError(f"{pair[:80]!r} is no argument; write NAME=VALUE")
        arguments[name] = value
    answer = asyncio.run(call_tool(_context(options), options.tool, arguments))
    print(json.dumps(answer, indent=2, ensure_ascii=False))
    return 0


def _probe(options: argparse.Namespace) -> int:
    from codeintel.probe import probe  # noqa: PLC0415 (see _serve)

    print(probe(options.socket, _state_dir(options)))
    return 0


def _password(options: argparse.Namespace) -> int:
    from codeintel.auth.passwords import hash_password, is_password  # noqa: PLC0415 (see _serve)

    password = sys.stdin.readline().rstrip("\r\n")
    if options.check is None:
        print(hash_password(password))
    elif not is_password(password, options.check.read_text()):
        raise CodeintelError("that is another password")
    return 0


def _token(options: argparse.Namespace) -> int:
    from codeintel.auth import tokens  # noqa: PLC0415 (see _serve)

    store = _store(options)
    match options.action:
        case "add":
            seconds = None if options.expires is None else tokens.parse_age(options.expires)
            print(tokens.add_token(store, options.name, seconds))
        case "list":
            for token in tokens.list_tokens(store):
                ends, used = _day(token.expires), _day(token.used)
                print(f"{token.name}  made {_day(token.created)}  ends {ends}  used {used}")
        case "revoke":
            tokens.revoke_token(store, options.name)
    return 0


def _revoke(options: argparse.Namespace) -> int:
    from codeintel.auth.oidc_state import end_sessions  # noqa: PLC0415 (see _serve)

    ended = _store(options).end_sessions() + end_sessions(_state_dir(options))
    print(f"ended the sessions of {ended} clients")
    return 0


def _store(options: argparse.Namespace) -> "AuthStore":
    from codeintel.auth.store import AuthStore  # noqa: PLC0415 (see _serve)

    return AuthStore(_state_dir(options))


def _state_dir(options: argparse.Namespace) -> Path:
    return options.state_dir or load_settings().state_dir


def _day(seconds: int | None) -> str:
    return (
        "never"
        if seconds is None
        else datetime.fromtimestamp(seconds, UTC).isoformat(" ", "minutes")
    )


def _context(options: argparse.Namespace) -> ApplicationContext:
    return create_context(_settings(options))


def _settings(options: argparse.Namespace) -> Settings:
    settings = load_settings()
    if options.index_dir is None:
        return settings
    return settings.model_copy(update={"index_dir": options.index_dir})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="codeintel", description="Index source code, and serve the indexes over MCP."
    )
    parser.add_argument("--version", action="version", version=f"codeintel {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument(
        "--index-dir",
        type=Path,
        metavar="DIR",
        help="where indexes live (default: CODEINTEL_INDEX_DIR, else $STATE_DIRECTORY/indexes,"
        " else ./indexes)",
    )

    index = commands.add_parser(
        "index",
        parents=[everywhere],
        help="build or replace the index of one source tree",
        description="Index the text files under PATH and replace the index called NAME in one"
        " step; a running server notices by itself. In a git work tree the files are those"
        " that git does not ignore. Binary, large, secret-looking and non-UTF-8 files and"
        " links are skipped and counted.",
    )
    index.add_argument("path", metavar="PATH", type=Path, help="root of the source tree")
    index.add_argument("--name", required=True, help="name of the repository in the tools")
    index.add_argument(
        "--scip", type=Path, metavar="FILE", help="take references from this index.scip"
    )
    index.add_argument("--semantic", action="store_true", help="add vectors, for search by meaning")
    index.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="folder of the model for --semantic (default: CODEINTEL_MODEL_DIR)",
    )
    index.add_argument(
        "--watch", action="store_true", help="go on, and index again whenever files change"
    )
    index.set_defaults(run=_index)

    serve = commands.add_parser(
        "serve",
        parents=[everywhere],
        help="serve the indexes",
        description="Serve MCP at /mcp with Hypercorn, else Uvicorn, whichever is installed.",
    )
    serve.add_argument(
        "--bind",
        default="127.0.0.1:8000",
        metavar="ADDRESS",
        help="HOST:PORT or unix:PATH (default: %(default)s)",
    )
    serve.set_defaults(run=_serve)

    doctor = commands.add_parser(
        "doctor",
        parents=[everywhere],
        help="say what works, what does not and why",
        description="Print a line for each thing looked at. Exit with 0 when all is well, 1 when"
        " something is broken, 3 when nothing is indexed yet.",
    )
    doctor.add_argument(
        "--tree",
        action="append",
        default=[],
        type=Path,
        metavar="PATH",
        help="a source tree that this user is to index; may be repeated",
    )
    doctor.set_defaults(run=_doctor)

    query = commands.add_parser(
        "query",
        parents=[everywhere],
        help="call a tool as an agent would",
        description="Call TOOL, such as: codeintel query grep pattern=TODO path='*.py'",
    )
    query.add_argument("tool", metavar="TOOL")
    query.add_argument("arguments", nargs="*", metavar="NAME=VALUE")
    query.set_defaults(run=_query)

    state = argparse.ArgumentParser(add_help=False)
    state.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help="where tokens live (default: CODEINTEL_STATE_DIR, else $STATE_DIRECTORY, else .)",
    )
    probe = commands.add_parser(
        "probe",
        parents=[state],
        help="ask a running server what a client would",
        description="Ask whether the server on a unix socket is ready, and call a tool. A server"
        " that wants a token gets one that is valid for this call. For deployments, before a new"
        " server gets traffic.",
    )
    probe.add_argument("socket", metavar="SOCKET", type=Path)
    probe.set_defaults(run=_probe)

    password = commands.add_parser(
        "password",
        help="hash the owner's password",
        description="Read a password, one line, from standard input, and print what"
        " CODEINTEL_OWNER_PASSWORD is to be.",
    )
    password.add_argument(
        "--check", type=Path, metavar="FILE", help="exit with 0 if FILE has the hash of it, else 1"
    )
    password.set_defaults(run=_password)

    token = commands.add_parser("token", help="make, list and revoke tokens for programs")
    actions = token.add_subparsers(required=True, dest="action", metavar="ACTION")
    add = actions.add_parser("add", parents=[state], help="make one, and show it this once")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--expires", metavar="AGE", help="12h, 90d or 6w from now (default: never)")
    actions.add_parser("list", parents=[state], help="show them, and when they were used last")
    revoke = actions.add_parser("revoke", parents=[state], help="end one")
    revoke.add_argument("name", metavar="NAME")
    token.set_defaults(run=_token)

    sessions = commands.add_parser(
        "revoke", parents=[state], help="end all sessions of clients that the owner let in"
    )
    sessions.set_defaults(run=_revoke)
    return parser
