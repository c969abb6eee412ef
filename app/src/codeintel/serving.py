"""Running the application under whichever ASGI server is installed."""

import asyncio
from importlib.util import find_spec

from starlette.applications import Starlette

from codeintel.errors import CodeintelError

# The lines of the server go through the JSON log of the application.
_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "loggers": {"hypercorn.error": {"handlers": [], "propagate": True}},
}


def serve(app: Starlette, bind: str) -> None:
    """Serve `app` at `bind`, ``HOST:PORT`` or ``unix:PATH``, until a signal ends it.

    Raises CodeintelError when no server is installed, or `bind` is neither.
    """
    host, colon, port = bind.rpartition(":")
    if not bind.startswith("unix:") and not (colon and port.isdecimal()):
        raise CodeintelError(f"cannot bind {bind[:80]!r}; give HOST:PORT or unix:PATH")
    if find_spec("hypercorn"):
        _hypercorn(app, bind)
    elif find_spec("uvicorn"):
        _uvicorn(app, bind, host.strip("[]"), port)
    else:
        raise CodeintelError("no ASGI server is installed; install hypercorn or uvicorn")


def _hypercorn(app: Starlette, bind: str) -> None:
    from hypercorn.asyncio import serve as run  # noqa: PLC0415 (it may not be installed)
    from hypercorn.config import Config  # noqa: PLC0415

    config = Config()
    config.bind = [bind]
    config.logconfig_dict = _LOGGING
    asyncio.run(run(app, config))  # type: ignore[arg-type]  # its types know no Starlette


def _uvicorn(app: Starlette, bind: str, host: str, port: str) -> None:
    import uvicorn  # noqa: PLC0415 (it may not be installed)

    if bind.startswith("unix:"):
        uvicorn.run(app, uds=bind.removeprefix("unix:"), log_config=None, access_log=False)
    else:
        uvicorn.run(app, host=host, port=int(port), log_config=None, access_log=False)
