"""The key with which instances seal what clients carry from one of them to another."""

from mcp.server.request_state import RequestStateSecurity

from codeintel.settings import Settings


def shared_security(settings: Settings) -> RequestStateSecurity | None:
    """Return how the state of a call that asks its client back is sealed.

    None, without a shared key, is a key that this process has made for itself.
    """
    key = settings.shared_key.get_secret_value()
    return RequestStateSecurity(keys=[key], audience="codeintel") if key else None
