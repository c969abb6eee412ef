"""Run an app on what Hypercorn speaks, with what is ours in its places."""

import asyncio
import gc
import os
import signal
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any, cast

import hypercorn.asyncio.run
import hypercorn.asyncio.tcp_server
import hypercorn.protocol
import uvloop
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.utils import LifespanFailureError, LifespanTimeoutError, NoAppError, load_application

from .access_log import AccessLog
from .asgi import App
from .body_limit import BodyLimit
from .certificates import Certificates
from .config import EdgeConfig
from .drain import Drain
from .forwarded import ForwardedHeaders
from .h2 import H2Protocol
from .h11 import H11Protocol
from .journal import Journal
from .limits import Limits, RequestLimit
from .notify import Notifier
from .response_headers import ResponseHeaders
from .settings import Edge
from .unread import Unread
from .worker import Worker

_NEW_OBJECTS = 10_000
_READ = 16384  # bytes; four times as many can hold two thousand requests, which hold up all others


def serve(
    application: str,
    settings: Mapping[str, Any],
    edge: Edge,
    instance: Path | None = None,
    gate: Path | None = None,
) -> int:
    """Serve `application`, MODULE:OBJECT, until SIGTERM or SIGINT. Return the exit status.

    An `instance` is a unix socket of this process alone, `gate` what keeps it off; see Worker.
    """
    config = _configure(application, settings, edge)
    logger = config.log.error_logger
    if logger is not None and logger.handlers:
        logger.propagate = False  # an app's root handler would write each line once more
    for ours in (H11Protocol, H2Protocol):
        setattr(hypercorn.protocol, ours.__name__, ours)
    hypercorn.asyncio.tcp_server.MAX_RECV = _READ
    with asyncio.Runner(debug=config.debug, loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().set_exception_handler(hypercorn.asyncio.run._exception_handler)
        try:
            runner.run(_serve(config, edge, instance, gate))
        except (NoAppError, LifespanFailureError, LifespanTimeoutError) as error:
            runner.run(config.log.error("%s", error))
            return 1
    return 0


def _configure(application: str, settings: Mapping[str, Any], edge: Edge) -> EdgeConfig:
    config = EdgeConfig()
    for key, value in settings.items():
        setattr(config, key, value)
    config.application_path = application
    for key in ("certfile", "keyfile"):
        if (path := getattr(config, key)) is not None:
            setattr(config, key, str(Path(os.environ.get("CREDENTIALS_DIRECTORY", ""), path)))
    config.max_body_size = edge.max_body_size
    if edge.request_rate:
        config.limits = Limits(
            edge.request_rate,
            edge.request_burst,
            edge.request_concurrency,
            edge.unlimited_networks,
            dry_run=edge.limits_dry_run,
        )
    if config.certfile is not None and config.keyfile is not None:
        config.certificates = Certificates(
            config.certfile, config.keyfile, config.keyfile_password, edge.certificate_reload
        )
        try:
            pair = config.certificates.load()
        except (OSError, ValueError) as error:
            if config.log.error_logger is not None:
                config.log.error_logger.error("Not serving a broken certificate: %s", error)
        else:
            config.certfile, config.keyfile = map(str, pair)
    return config


async def _serve(config: EdgeConfig, edge: Edge, instance: Path | None, gate: Path | None) -> None:
    loop = asyncio.get_running_loop()
    notifier = Notifier()
    wrapper = load_application(config.application_path, config.wsgi_max_body_size)
    if not isinstance(wrapper, ASGIWrapper):
        raise NoAppError(f"'{config.application_path}' is no ASGI app; if it is, prefix asgi:")
    drain = Drain(cast(App, wrapper.app))
    wrapper.app = cast(Any, _layers(drain, config, edge))

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: _reload(config, notifier))
    loop.add_signal_handler(signal.SIGUSR1, drain.end_all)

    worker = Worker(wrapper, config, instance, gate)
    await worker.start()
    # What is loaded by now stays: the garbage collector, which stops everything for 0.1 s each time
    # that it looks at all of it, need not. One request makes more objects than it expects between
    # two looks at the new ones.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)
    notifier.keep_alive()
    stopped = loop.create_task(_first(stop.wait(), worker.failed.wait()))
    serving = loop.create_task(_serve_in_turn(worker, notifier))
    await _first(stopped, serving)
    if serving.done():
        serving.result()
        await stopped
    serving.cancel()
    notifier.send("STOPPING=1", "STATUS=Answering what has been asked")
    loop.call_later(edge.stream_grace, drain.begin)
    await worker.stop()


async def _first(*awaitables: Awaitable[Any]) -> None:
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def _serve_in_turn(worker: Worker, notifier: Notifier) -> None:
    if not worker.is_next():
        notifier.send("READY=1", "STATUS=Ready, waiting for the other instance to end")
    await worker.serve()
    notifier.send("READY=1", "STATUS=Serving")


def _layers(app: App, config: EdgeConfig, edge: Edge) -> App:
    """Return `app` with what stands before it, the outermost last."""
    app = BodyLimit(app, edge.max_body_size)
    if config.limits is not None:
        app = RequestLimit(app, config.limits)
    if edge.access_log:
        config.write_access = Journal(edge.access_log).write
        app = AccessLog(app, config.write_access)
    app = ForwardedHeaders(app, edge.forwarded_hops)
    return Unread(ResponseHeaders(app, edge.response_headers))


def _reload(config: EdgeConfig, notifier: Notifier) -> None:
    """Read the certificate anew; what is wrong with it is logged, and the old one stays."""
    logger = config.log.error_logger
    notifier.reloading()
    try:
        if config.certificates is not None:
            certificate, _ = config.certificates.load()
            if logger is not None:
                logger.info("Serving the certificate in %s", certificate)
    except (OSError, ValueError) as error:
        if logger is not None:
            logger.error("Serving the old certificate, as the new one is broken: %s", error)
    notifier.send("READY=1")
