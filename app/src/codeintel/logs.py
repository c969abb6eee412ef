"""Logging: one JSON object a line on stderr, for the app, its libraries and the server."""

import json
import logging
import time

# Loggers that bring handlers of their own: FastMCP's wraps lines for a terminal.
FOREIGN_LOGGERS = ("fastmcp", "hypercorn.error")


class JsonFormatter(logging.Formatter):
    """Format a record as JSON with ``time`` (UTC), ``level``, ``logger`` and ``message``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; a traceback becomes the ``exception`` member."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure_logging(level: str) -> None:
    """Send every logger of the process through one JSON handler at `level`."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in FOREIGN_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(level)
    # One line per MCP session and request says nothing that the proxy's access log does not.
    logging.getLogger("mcp").setLevel(max(logging.WARNING, logging.getLevelName(level)))
