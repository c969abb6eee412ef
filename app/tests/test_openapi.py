"""Whatever the API is asked, by its description and against it, is never a fault of the server."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from codeintel import api
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

ticks = api.ticks


async def one_tick(interval: float, count: int) -> AsyncIterator[str]:
    """Yield the first of the events that are asked for: the last may be an hour away."""
    async for event in ticks(interval, min(count, 1)):
        yield event


def test_no_request_is_a_fault_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "ticks", one_tick)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.py").write_text("needle = 1\n")
    build_index(tree, "main", tmp_path)
    app = create_app(Settings(index_dir=tmp_path, auth="none", rate_limit=None))
    described = schemathesis.openapi.from_asgi("/api/openapi.json", app)
    found = [one for one in described.get_all_operations() if isinstance(one, Ok)]
    operations: list[Operation] = [one.ok() for one in found]
    right, wrong = (
        {one.label: ask(one, mode) for one in operations}
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    )
    # The paths are those of the server, and what is wrong is refused.
    assert set(right) == {"GET /livez", "GET /readyz", "GET /capz", "GET /sse"}
    assert all(200 in seen for seen in right.values()), right
    # So is what is right by itself, but too much together.
    assert right["GET /sse"] == {200, 422}
    assert 422 in wrong["GET /sse"]


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
        response = case.call()
        case.validate_response(response, checks=[not_a_server_error])
        seen.add(response.status_code)

    try:
        call()
    except Unsatisfiable:  # an operation without parameters has nothing that can be wrong
        assert mode is GenerationMode.NEGATIVE
    return seen
