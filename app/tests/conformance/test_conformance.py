"""The official suite, against the composite on the server that the role installs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conformance_suite import EXPECTED, failed_scenarios
from edge_process import serving


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving("fixture_app:app", tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.mark.parametrize("revision", EXPECTED)
def test_required_scenarios(url: str, tmp_path: Path, revision: str) -> None:
    assert failed_scenarios(url, revision, tmp_path) == EXPECTED[revision]
