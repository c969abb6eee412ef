import json
import logging

import pytest
from codeintel.logs import configure_logging


def test_every_logger_writes_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO")
    logging.getLogger("fastmcp.server").warning("two\nlines")
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("codeintel").exception("failed")
    logging.getLogger("codeintel").debug("too quiet")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["logger"], first["level"], first["message"]) == (
        "fastmcp.server",
        "warning",
        "two\nlines",
    )
    assert first["time"].endswith("Z")
    assert "ValueError: broken" in second["exception"]


def test_the_sdk_does_not_log_each_session(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO")
    logging.getLogger("mcp.server.streamable_http_manager").info("Created new transport")
    logging.getLogger("mcp.server.streamable_http_manager").warning("Refusing")
    assert [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()] == [
        "Refusing"
    ]
