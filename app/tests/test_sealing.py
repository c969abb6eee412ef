import pytest
from codeintel.sealing import shared_security
from codeintel.settings import Settings
from mcp.server.request_state import InvalidRequestState
from pydantic import SecretStr


def test_instances_with_one_key_open_what_the_others_seal() -> None:
    settings = Settings(shared_key=SecretStr("k" * 32))
    one, other = shared_security(settings), shared_security(settings)
    stranger = shared_security(Settings(shared_key=SecretStr("s" * 32)))
    assert one is not None
    assert other is not None
    assert stranger is not None
    sealed = one.codec.seal(b"state")
    assert other.codec.unseal(sealed) == b"state"
    with pytest.raises(InvalidRequestState):
        stranger.codec.unseal(sealed)


def test_without_a_key_each_process_has_its_own() -> None:
    assert shared_security(Settings()) is None
