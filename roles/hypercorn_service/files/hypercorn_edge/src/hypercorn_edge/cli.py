"""The command line."""

import argparse
import sys
from pathlib import Path

from . import settings


def main(arguments: list[str] | None = None) -> int:
    """Serve, or check the configuration. Return the exit status: 2 for what a user must change."""
    parser = argparse.ArgumentParser(prog="hypercorn-edge", description="Serve an ASGI app.")
    parser.add_argument("--config", metavar="FILE", type=Path, required=True, help="TOML")
    parser.add_argument("--check", action="store_true", help="validate only, start nothing")
    parser.add_argument(
        "--instance",
        metavar="SOCKET",
        type=Path,
        help="serve this unix socket at once, and the others when no instance beside it does, and "
        "nobody has locked the folder of the --config",
    )
    parser.add_argument("application", metavar="MODULE:OBJECT")
    options = parser.parse_args(arguments)
    try:
        hypercorn, edge = settings.read(options.config)
    except settings.SettingsError as error:
        print(f"hypercorn-edge: {error}", file=sys.stderr)
        return 2
    if options.check:
        return 0
    from .server import serve  # noqa: PLC0415  # it imports what the versions are checked for

    return serve(options.application, hypercorn, edge, options.instance, options.config.parent)
