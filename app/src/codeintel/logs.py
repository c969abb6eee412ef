"""Logging: one JSON object a line on stderr, for the app, its libraries and the server."""

import json
import logging
import time
from contextvars import ContextVar

# Loggers that bring handlers of their own: FastMCP's wraps lines for a terminal.
FOREIGN_LOGGERS = ("fastmcp", "hypercorn.error")

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Name of the request that is being served."""


class JsonFormatter(logging.Formatter):
    """Format a record as JSON with ``time`` (UTC), ``level``, ``logger`` and ``message``.

    Within a request it has a ``request_id`` too, and then what ``extra={"fields": {...}}`` adds.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; a traceback becomes the ``exception`` member."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request_id := REQUEST_ID.get()) is not None:
            entry["request_id"] = request_id
        entry |= getattr(record, "fields", {})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure_logging(level: str) -> None:
    """Send every logger of the process through one JSON handler at `level`."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for name in FOREIGN_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(level)
    # Their one line per session and request says nothing that the line of the request does not.
    logging.getLogger("mcp").setLevel(max(logging.WARNING, logging.getLevelName(level)))
