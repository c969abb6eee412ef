"""Whatever the API is asked, by its description and against it, is never a fault of the server."""

import re
from pathlib import Path
from typing import Any

import schemathesis
from codeintel.app import create_app
from codeintel.indexer import build_index
from codeintel.settings import Settings
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation

Operation = APIOperation[Any, Any, Any, Any]

EXAMPLES = 40
SMALL = re.compile(r"[0-9.]+")


def test_no_request_is_a_fault_of_the_server(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.py").write_text("needle = 1\n")
    build_index(tree, "main", tmp_path)
    app = create_app(Settings(index_dir=tmp_path, auth="none", rate_limit=None))
    described = schemathesis.openapi.from_asgi("/api/openapi.json", app)
    found = [one for one in described.get_all_operations() if isinstance(one, Ok)]
    operations: list[Operation] = [one.ok() for one in found]
    statuses = {
        one.label: set.union(*(ask(one, mode) for mode in GenerationMode)) for one in operations
    }
    # The paths are those of the server, and what is wrong is refused.
    assert set(statuses) == {"GET /livez", "GET /readyz", "GET /capz", "GET /sse"}
    assert all(200 in seen for seen in statuses.values()), statuses
    assert 422 in statuses["GET /sse"]


def ask(operation: Operation, mode: GenerationMode) -> set[int]:
    """Return the statuses of requests as the description has them, or as it does not."""
    seen = set[int]()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def call(case: schemathesis.Case[Any]) -> None:
        # A stream of events lasts as long as it is asked to.
        for name, least in (("count", "1"), ("interval", "0.01")):
            if name in (case.query or {}) and SMALL.fullmatch(str(case.query[name])):
                case.query[name] = least
        if case.path == "/sse" and set(case.query or {}) < {"count", "interval"}:
            case.query = {"count": "1", "interval": "0.01"} | dict(case.query or {})
        response = case.call()
        case.validate_response(response, checks=[not_a_server_error])
        seen.add(response.status_code)

    try:
        call()
    except Unsatisfiable:  # an operation without parameters has nothing that can be wrong
        assert mode is GenerationMode.NEGATIVE
    return seen
