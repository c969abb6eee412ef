"""Who may come in: the owner and whom the owner lets in, by OAuth or by a token with a name."""

from fastmcp.server.auth import AuthProvider, MultiAuth

from codeintel.auth.passwords import check_hash
from codeintel.auth.store import AuthStore
from codeintel.auth.tokens import NamedTokens
from codeintel.errors import CodeintelError
from codeintel.settings import Settings


def build_auth(settings: Settings) -> AuthProvider | None:
    """Return what lets clients in, or None where all may.

    Raises CodeintelError if that would leave the code open to the internet without an explicit
    word, or something that the mode needs is missing.
    """
    if settings.auth == "none":
        if not (settings.is_loopback or settings.allow_public_without_auth):
            raise CodeintelError(
                f"CODEINTEL_AUTH=none would open {settings.public_url} to everybody; choose owner,"
                " tokens or oidc, or set CODEINTEL_ALLOW_PUBLIC_WITHOUT_AUTH=true"
            )
        return None
    store = AuthStore(settings.state_dir)
    named = {"token": NamedTokens(store, settings.public_url)}
    if settings.auth == "tokens":
        return MultiAuth(verifiers=named, base_url=settings.public_url)
    from codeintel.auth.owner import OwnerProvider  # noqa: PLC0415 (what others do not need)

    password = settings.owner_password.get_secret_value()
    if not password:
        raise CodeintelError(
            "CODEINTEL_AUTH=owner needs the owner's password: set CODEINTEL_OWNER_PASSWORD to what"
            " codeintel password prints, or choose CODEINTEL_AUTH=tokens"
        )
    check_hash(password)
    owner = OwnerProvider(
        store,
        settings.public_url,
        password_hash=password,
        redirect_uris=settings.redirect_uris,
        client_documents=settings.client_documents,
    )
    return MultiAuth(server=owner, verifiers=named)
