import pytest
from node_tools import install


@pytest.fixture(scope="session", autouse=True)
def node_tools() -> None:
    install()
