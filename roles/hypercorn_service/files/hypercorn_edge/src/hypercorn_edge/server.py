"""Run Hypercorn's own worker, with what is ours in its places."""

import asyncio
import gc
import signal
from collections.abc import Mapping
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
from .journal import Journal
from .limits import Limits, RequestLimit
from .notify import Notifier
from .response_headers import ResponseHeaders
from .settings import Edge
from .tcp import TCPServer
from .udp import UDPServer
from .unread import Unread

_NEW_OBJECTS = 10_000
_READ = 16384  # bytes; four times as many can hold two thousand requests, which hold up all others


def serve(application: str, settings: Mapping[str, Any], edge: Edge) -> int:
    """Serve `application`, MODULE:OBJECT, until SIGTERM or SIGINT. Return the exit status."""
    config = _configure(application, settings, edge)
    logger = config.log.error_logger
    if logger is not None and logger.handlers:
        logger.propagate = False  # an app's root handler would write each line once more
    for module, ours in (
        (hypercorn.asyncio.run, TCPServer),
        (hypercorn.asyncio.run, UDPServer),
        (hypercorn.protocol, H2Protocol),
    ):
        setattr(module, ours.__name__, ours)
    hypercorn.asyncio.tcp_server.MAX_RECV = _READ
    with asyncio.Runner(debug=config.debug, loop_factory=uvloop.new_event_loop) as runner:
        runner.get_loop().set_exception_handler(hypercorn.asyncio.run._exception_handler)
        try:
            runner.run(_serve(config, edge))
        except (NoAppError, LifespanFailureError, LifespanTimeoutError) as error:
            runner.run(config.log.error("%s", error))
            return 1
    return 0


def _configure(application: str, settings: Mapping[str, Any], edge: Edge) -> EdgeConfig:
    config = EdgeConfig()
    for key, value in settings.items():
        setattr(config, key, value)
    config.application_path = application
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


async def _serve(config: EdgeConfig, edge: Edge) -> None:
    loop = asyncio.get_running_loop()
    notifier = Notifier()
    wrapper = load_application(config.application_path, config.wsgi_max_body_size)
    if not isinstance(wrapper, ASGIWrapper):
        raise NoAppError(f"'{config.application_path}' is no ASGI app; if it is, prefix asgi:")
    drain = Drain(cast(App, wrapper.app))
    app: App = BodyLimit(drain, edge.max_body_size)
    if config.limits is not None:
        app = RequestLimit(app, config.limits)
    if edge.access_log:
        config.write_access = Journal(edge.access_log).write
        app = AccessLog(app, config.write_access)
    app = ForwardedHeaders(app, edge.forwarded_hops)
    wrapper.app = cast(Any, Unread(ResponseHeaders(app, edge.response_headers)))

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: _reload(config, notifier))

    async def ready_until_stopped() -> None:
        # Hypercorn waits for this once the app has started and the sockets listen. What is loaded
        # by now stays: the garbage collector, which stops everything for 0.1 s each time that it
        # looks at all of it, need not. One request makes more objects than it expects between two
        # looks at the new ones.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_NEW_OBJECTS)
        notifier.send("READY=1")
        notifier.keep_alive()
        await stop.wait()
        notifier.send("STOPPING=1")
        drain.begin()

    await hypercorn.asyncio.run.worker_serve(wrapper, config, shutdown_trigger=ready_until_stopped)


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
