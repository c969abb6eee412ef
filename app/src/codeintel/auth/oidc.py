"""The mode `oidc`: an identity provider says who somebody is, a list says who may come in.

FastMCP's proxy stands between clients, which register themselves, and the provider, which knows
one client. What this adds: the list, at the end of each flow, at each refresh and on each call.
"""

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
from cryptography.fernet import Fernet
from fastmcp.server.auth import AccessToken, AuthProvider, TokenVerifier
from fastmcp.server.auth.auth import TokenHandler
from fastmcp.server.auth.identity_assertion import normalize_resource_url
from fastmcp.server.auth.jwt_issuer import derive_jwt_key
from fastmcp.server.auth.oauth_proxy.models import ProxyDCRClient, UpstreamTokenSet
from fastmcp.server.auth.oauth_proxy.upstream import AsyncOAuth2Client, OAuthError
from fastmcp.server.auth.oidc_proxy import OIDCConfiguration, OIDCProxy
from fastmcp.server.auth.providers.jwt import JWTVerifier
from fastmcp.server.auth.redirect_validation import build_client_redirect
from fastmcp.server.dependencies import get_http_request
from fastmcp.utilities.auth import decode_jwt_header
from key_value.aio.stores.filetree import (
    FileTreeStore,
    FileTreeV1CollectionSanitizationStrategy,
    FileTreeV1KeySanitizationStrategy,
)
from key_value.aio.wrappers.encryption import FernetEncryptionWrapper
from mcp.server.auth.middleware.client_auth import AuthenticationError
from mcp.server.auth.provider import AccessToken as SdkAccessToken
from mcp.server.auth.provider import (
    AuthorizationCode,
    AuthorizationParams,
    AuthorizeError,
    RefreshToken,
    RegistrationError,
    TokenError,
)
from mcp.server.auth.routes import cors_middleware
from mcp.server.auth.settings import ClientRegistrationOptions, RevocationOptions
from mcp.shared.auth import InvalidRedirectUriError, OAuthClientInformationFull, OAuthToken
from pydantic import AnyHttpUrl, AnyUrl, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from codeintel.auth.discovery import NEEDED, WELCOME, discover
from codeintel.auth.documents import Authenticator, Documents
from codeintel.auth.oidc_state import open_folder, read_secret, sessions_in
from codeintel.auth.origin import parse_origin
from codeintel.auth.redirects import is_allowed
from codeintel.auth.store import MAX_STRANGERS
from codeintel.errors import CodeintelError
from codeintel.peer import network_key
from codeintel.settings import PREFIX, Settings

ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"}
    | {"EdDSA", "Ed25519", "Ed448"}
)
"""Ways of signing that need no secret of the provider's."""

SECONDS = 10
"""How long a person, or a call, waits for the provider."""

ACCESS_SECONDS = 24 * 3600
"""Life of a client's token where the provider lets sessions be renewed, which happens unseen."""

GRACE_SECONDS = 3600
"""How long a session goes on when the provider, unreachable, cannot renew it."""

RETRY_SECONDS = 60
"""How often the provider is asked again then."""

VERIFIED_SECONDS = 5
"""How long a token that was found good is taken for good: to look it up costs more than a call."""

MAX_VERIFIED = 1_000

STRANGER_SECONDS = 7 * 24 * 3600
"""How long a client that nobody has let in is remembered: anybody may register."""

MAX_REQUEST = 4_000
"""Characters of what a stranger can have remembered."""

CULL_SECONDS = 600
"""How often what has expired is removed from the disk."""

REFUSAL_SECONDS = 20
"""How long a person reads why, before the client is told."""

PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
)
"""FastMCP's own lets its pages fetch a logo from afar."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Identity:
    """Who somebody is at the provider; an address is one that the provider has verified."""

    subject: str
    email: str = ""


class Guests:
    """Who may come in."""

    def __init__(self, allowed: Sequence[str]) -> None:
        """Take subjects, and e-mail addresses, which are told by their @.

        An entry with an @ is never a subject, as with some providers people choose that.
        """
        self._subjects = frozenset(entry for entry in allowed if "@" not in entry)
        self._emails = frozenset(_folded(entry) for entry in allowed if "@" in entry)

    @property
    def need_email(self) -> bool:
        """Whether there is an address on the list."""
        return bool(self._emails)

    def have(self, identity: Identity) -> bool:
        """Say whether `identity` may come in."""
        return identity.subject in self._subjects or _folded(identity.email) in self._emails


def _folded(email: str) -> str:
    # Other letters than ASCII's can become one of them: the Kelvin sign is a k.
    return email.lower() if email.isascii() else email


class _FlowError(Exception):
    """Why a flow ends without a code; the message is for the person."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


_ENDED: ContextVar[_FlowError | None] = ContextVar("oidc_flow_ended", default=None)
"""What ended the flow of this request: FastMCP makes a page with status 500 of any exception."""


def _explained(error: Exception) -> _FlowError:
    match error:
        case _FlowError():
            return error
        case OAuthError(error="invalid_client" | "unauthorized_client" as code):
            return _FlowError(
                "server_error",
                f"the identity provider does not accept {PREFIX}OIDC_CLIENT_ID with"
                f" {PREFIX}OIDC_CLIENT_SECRET: {code}",
            )
        case OAuthError():
            return _FlowError("server_error", f"the identity provider says {error.error}")
        case _:
            return _FlowError("server_error", "the identity provider gives no usable answer")


class _Identities:
    """Says whose the tokens are that the provider gives."""

    def __init__(self, metadata: dict[str, Any], client_id: str, guests: Guests) -> None:
        supported = metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
        # FastMCP's verifier takes one way of signing each.
        self._verifiers = {
            algorithm: JWTVerifier(
                jwks_uri=metadata["jwks_uri"],
                issuer=metadata["issuer"],
                audience=client_id,
                algorithm=algorithm,
                jwks_refresh_interval=5,
            )
            for algorithm in ALGORITHMS.intersection(supported)
        }
        if not self._verifiers:
            raise CodeintelError(f"{metadata['issuer']} signs ID tokens in no way known here")
        self._userinfo: str | None = metadata.get("userinfo_endpoint")
        self._guests = guests

    async def first(self, tokens: dict[str, Any]) -> Identity:
        """Return whose `tokens` are. Raises _FlowError, HTTPError or ValueError."""
        claims = await self._verified(str(tokens.get("id_token")))
        subject = str(claims["sub"])
        if self._guests.need_email and not self._guests.have(_identity(claims)):
            # Where there is a userinfo endpoint the address need not be in the ID token.
            claims = await self._asked(tokens) or claims
            if claims["sub"] != subject:
                raise _FlowError("server_error", "the identity provider speaks of two people")
        return _identity(claims)

    async def again(self, tokens: dict[str, Any]) -> Identity | None:
        """Return whose renewed `tokens` are, or None when the provider does not say."""
        if "id_token" in tokens:
            return await self.first(tokens)
        if self._guests.need_email and (claims := await self._asked(tokens)):
            return _identity(claims)
        return None

    async def _verified(self, token: str) -> dict[str, Any]:
        verifier = self._verifiers.get(str(decode_jwt_header(token).get("alg")))
        verified = await verifier.verify_token(token) if verifier else None
        if verified is None or not verified.claims.get("sub"):
            raise _FlowError("server_error", "the ID token of the identity provider is not valid")
        return dict(verified.claims)

    async def _asked(self, tokens: dict[str, Any]) -> dict[str, Any]:
        if self._userinfo is None:
            return {}
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        async with httpx2.AsyncClient(timeout=SECONDS, headers=bearer) as client:
            response = await client.get(self._userinfo)
        response.raise_for_status()
        claims = response.json()
        if not isinstance(claims, dict) or not claims.get("sub"):
            raise ValueError("userinfo without a subject")
        return claims


def _identity(claims: dict[str, Any]) -> Identity:
    verified = claims.get("email_verified") is True
    return Identity(str(claims["sub"]), str(claims.get("email") or "") if verified else "")


class _ProviderClient(AsyncOAuth2Client):
    """FastMCP's client of the token endpoint; beside the tokens it says whose they are."""

    def __init__(self, proxy: "OidcProxy", method: str, client_id: str, secret: str) -> None:
        if method == "client_secret_basic":
            # RFC 6749, 2.3.1; FastMCP leaves them as they are.
            client_id, secret = quote(client_id, safe=""), quote(secret, safe="")
        super().__init__(client_id, secret, method, SECONDS)
        self._identities, self._guests = proxy.identities, proxy.guests

    async def fetch_token(self, url: str, **params: Any) -> dict[str, Any]:  # noqa: ANN401
        try:
            tokens = await super().fetch_token(url, **params)
            identity = await self._identities.first(tokens)
            if not self._guests.have(identity):
                logger.warning("not on the list: %s", identity)
                name = identity.email or identity.subject
                raise _FlowError("access_denied", f"{name} may not use this server")
        except Exception as error:
            ended = _explained(error)
            _ENDED.set(ended)
            raise ended from error
        return {**tokens, "subject": identity.subject, "identity": vars(identity)}

    async def refresh_token(self, url: str, **params: Any) -> dict[str, Any]:  # noqa: ANN401
        tokens = await super().refresh_token(url, **params)
        try:
            if identity := await self._identities.again(tokens):
                tokens["identity"] = vars(identity)
        except (_FlowError, httpx2.HTTPError, ValueError) as error:
            # The old refresh token is spent: to fail now would end the session.
            logger.warning("renewed, but the identity stays as it was: %s", error)
        return tokens


class _Admission(TokenVerifier):
    """Says on each call whether a session may go on; `token` is what the proxy knows of it.

    The ID token was verified when it came, and what is stored is sealed. So no call needs the
    provider, and what is asked is the list of now.
    """

    def __init__(self, issuer: str, guests: Guests) -> None:
        super().__init__()
        self._issuer, self._guests = issuer, guests

    async def verify_token(self, token: str) -> AccessToken | None:
        session = json.loads(token)
        identity = Identity(**session["identity"])
        if session["expires_at"] <= time.time() or not self._guests.have(identity):
            return None
        if identity.subject != session["subject"]:
            return None
        return AccessToken(
            token=session["id"],
            client_id=session["client_id"],
            scopes=[],
            expires_at=int(session["expires_at"]),
            subject=identity.subject,
            claims={"iss": self._issuer, "sub": identity.subject, "email": identity.email},
        )


class _Client(ProxyDCRClient):
    """A client that is sent to addresses of the list only, whatever it has registered."""

    extra: Sequence[str] = Field(default=(), exclude=True)

    def validate_redirect_uri(self, redirect_uri: AnyUrl | None) -> AnyUrl:
        resolved = super().validate_redirect_uri(redirect_uri)
        if not is_allowed(str(resolved), self.extra):
            raise InvalidRedirectUriError(f"Redirect URI '{resolved}' is not allowed.")
        return resolved


class OidcProxy(OIDCProxy):
    """FastMCP's proxy with a guest list."""

    def __init__(self, settings: Settings, metadata: dict[str, Any]) -> None:
        """Serve for the provider that says `metadata` of itself."""
        folder = open_folder(settings.state_dir)
        # Subjects mean something at one provider only: with another, all sign in again.
        secret = f"{read_secret(folder)} {metadata['issuer']}"
        self.guests = Guests(settings.oidc_allowed)
        self.identities = _Identities(metadata, settings.oidc_client_id, self.guests)
        self._metadata = metadata
        self._extra = tuple(settings.redirect_uris)
        self._files = _files(sessions_in(folder))
        self._cull_due = 0.0
        self._culling: asyncio.Task[None] | None = None
        self._strangers: dict[str, str | None] = {}  # and where they registered
        self._next_try: dict[str, float] = {}
        self._verified: dict[str, tuple[AccessToken, float]] = {}
        super().__init__(
            config_url=metadata["issuer"],
            client_id=settings.oidc_client_id,
            client_secret=settings.oidc_client_secret.get_secret_value(),
            token_verifier=_Admission(metadata["issuer"], self.guests),
            token_endpoint_auth_method=_auth_method(metadata),
            base_url=parse_origin(settings.public_url),
            client_storage=FernetEncryptionWrapper(
                self._files,
                fernet=Fernet(derive_jwt_key(high_entropy_material=secret, salt="sessions")),
                raise_on_decryption_error=False,
            ),
            jwt_signing_key=derive_jwt_key(high_entropy_material=secret, salt="tokens"),
            # The provider knows one client. Only this page says which one of many asks, and
            # only its cookie ties the end of a flow to the browser that began it.
            require_authorization_consent=True,
            # The provider would have to know this server as a resource.
            forward_resource=False,
            extra_authorize_params=_authorize_params(metadata, self.guests),
            fallback_access_token_expiry_seconds=3600,
            fastmcp_access_token_expiry_seconds=ACCESS_SECONDS,
            enable_cimd=settings.client_documents,
        )
        if fastmcps := self._cimd_manager:
            self._cimd_manager = Documents(
                default_scope=fastmcps.default_scope,
                allowed_redirect_uri_patterns=fastmcps.allowed_redirect_uri_patterns,
            )
        # Scopes are between this server and the provider; clients have none to ask for.
        self.client_registration_options = ClientRegistrationOptions(enabled=True)
        self.revocation_options = RevocationOptions(enabled=True)

    def get_oidc_configuration(
        self,
        config_url: AnyHttpUrl,  # noqa: ARG002 (of the interface)
        strict: bool | None,  # noqa: ARG002
        timeout_seconds: int | None,  # noqa: ARG002
    ) -> OIDCConfiguration:
        """Return what has been found out already."""
        known = {name: self._metadata.get(name) for name in NEEDED + WELCOME}
        return OIDCConfiguration.model_validate({**known, "strict": False})

    def _create_upstream_oauth_client(self) -> AsyncOAuth2Client:
        secret = self._upstream_client_secret
        return _ProviderClient(
            self,
            self._token_endpoint_auth_method or "",
            self._upstream_client_id,
            secret.get_secret_value() if secret else "",
        )

    # Clients

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        """Return a client that has registered, or whose id is the address of its document."""
        # FastMCP takes the id that the provider knows for a client that may be sent anywhere.
        if client_id == self._upstream_client_id:
            return None
        client = await super().get_client(client_id)
        return client and _Client(**dict(client), extra=self._extra)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        """Remember a client, for a while until somebody lets it in."""
        for uri in client_info.redirect_uris or ():
            if not is_allowed(str(uri), self._extra):
                raise RegistrationError("invalid_redirect_uri", f"{uri} is not allowed")
        if len(client_info.model_dump_json(exclude_none=True)) > MAX_REQUEST:
            raise RegistrationError("invalid_client_metadata", "it is too long")
        await super().register_client(client_info)
        name = client_info.client_id
        if stored := await self._client_store.get(key=name):
            await self._client_store.put(key=name, value=stored, ttl=STRANGER_SECONDS)
        self._strangers[name] = network_key(get_http_request().scope)
        if len(self._strangers) > MAX_STRANGERS:
            [(crowd, _)] = Counter(self._strangers.values()).most_common(1)
            oldest = next(one for one, network in self._strangers.items() if network == crowd)
            del self._strangers[oldest]
            await self._client_store.delete(key=oldest)
        self._cull()

    def _validate_client_redirect_uri(self, redirect_uri: str) -> bool:
        return is_allowed(redirect_uri, self._extra)

    def _cull(self) -> None:
        """Remove what has expired, which the store alone would do only for what is read."""
        if time.monotonic() >= self._cull_due:
            self._cull_due = time.monotonic() + CULL_SECONDS
            self._culling = asyncio.create_task(self._files.cull())

    # The flow

    async def authorize(
        self, client: OAuthClientInformationFull, params: AuthorizationParams
    ) -> str:
        """Begin a flow."""
        if len(params.model_dump_json()) > MAX_REQUEST:
            raise AuthorizeError("invalid_request", "the request is too long")
        self._cull()
        return await super().authorize(client, params)

    async def _handle_consent(self, request: Request) -> HTMLResponse | RedirectResponse:
        return _guarded(await super()._handle_consent(request))

    async def _handle_idp_callback(self, request: Request) -> HTMLResponse | RedirectResponse:
        """End a flow; when it ends without a code, say why to the person and to the client."""
        _ENDED.set(None)
        name = request.query_params.get("state", "")
        transaction = await self._transaction_store.get(key=name)
        response = await super()._handle_idp_callback(request)
        ended = _ENDED.get()
        if ended is None or transaction is None:
            return _guarded(response)
        await self._transaction_store.delete(key=name)
        told = {"error": ended.code, "error_description": _ascii(str(ended))}
        if transaction.client_state:
            told["state"] = transaction.client_state
        uri = transaction.client_redirect_uri
        refusal = _refusal(ended, build_client_redirect(uri, told, iss=str(self.issuer_url)))
        self._clear_consent_binding_cookie(request, refusal, name)
        return _guarded(refusal)

    def get_routes(self, mcp_path: str | None = None) -> list[Route]:
        """Return FastMCP's routes, with what is missing there, as `OwnerProvider` does."""
        ours = {
            "/token": cors_middleware(self._token, ["POST", "OPTIONS"]),
            "/revoke": cors_middleware(self._revoke, ["POST", "OPTIONS"]),
        }
        routes = [
            Route(route.path, ours.get(route.path, route.endpoint), methods=route.methods)
            for route in super().get_routes(mcp_path)
        ]
        known = "/.well-known"
        resource = f"{known}/oauth-protected-resource"
        also = {
            f"{known}/oauth-authorization-server": f"{known}/openid-configuration",
            f"{resource}{mcp_path}": resource,
        }
        aliases = [
            Route(also[route.path], route.endpoint, methods=route.methods)
            for route in routes
            if route.path in also
        ]
        return routes + aliases

    async def _token(self, request: Request) -> Response:
        resource = (await request.form()).get("resource")
        if resource is not None and not self._is_here(str(resource)):
            said = {"error": "invalid_target", "error_description": "that is another server"}
            return JSONResponse(said, 400, {"Cache-Control": "no-store"})
        handler = TokenHandler(provider=self, client_authenticator=self._authenticator())
        answer: Response = await handler.handle(request)
        return answer

    def _authenticator(self) -> Authenticator:
        documents = self._cimd_manager or Documents(enable_cimd=False)
        return Authenticator(self, documents, self.token_endpoint_url)

    def _is_here(self, resource: str) -> bool:
        here = (normalize_resource_url(str(url)) for url in (self._resource_url, self.base_url))
        return normalize_resource_url(resource) in here

    async def _revoke(self, request: Request) -> Response:
        """RFC 7009; the SDK's own handler does not understand clients that have no secret."""
        try:
            client = await self._authenticator().authenticate_request(request)
        except AuthenticationError as error:
            said = {"error": "invalid_client", "error_description": error.message}
            return JSONResponse(said, 401)
        value = (await request.form()).get("token")
        if not isinstance(value, str):
            return JSONResponse({"error": "invalid_request"}, 400)
        token = await self.load_access_token(value) or await self.load_refresh_token(client, value)
        if token is not None and token.client_id == client.client_id:
            await self.revoke_token(token)
        return Response(headers={"Cache-Control": "no-store"})

    # Tokens

    def _translate_scopes_from_idp(self, scopes: list[str]) -> list[str]:  # noqa: ARG002
        return []

    def _prepare_scopes_for_upstream_refresh(self, scopes: list[str]) -> list[str]:  # noqa: ARG002
        return []  # the same as before

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        """Give tokens for a code, and keep the client, which somebody has let in."""
        tokens = await super().exchange_authorization_code(client, authorization_code)
        if stored := await self._client_store.get(key=client.client_id):
            await self._client_store.put(key=client.client_id, value=stored)
        self._strangers.pop(client.client_id, None)
        return tokens.model_copy(update={"scope": None})

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        """Give new tokens, if the provider does and the person is still on the list."""
        try:
            tokens = await super().exchange_refresh_token(client, refresh_token, scopes)
        except (OAuthError, httpx2.HTTPError, ValueError) as error:
            # Any other status would make clients forget the session.
            raise HTTPException(503, str(_explained(error)), {"Retry-After": "60"}) from error
        if await self.load_access_token(tokens.access_token) is None:
            raise TokenError("invalid_grant", "no longer allowed")
        return tokens.model_copy(update={"scope": None})

    async def load_access_token(self, token: str) -> AccessToken | None:
        """Return what is known of a token, or None if it is not, or no longer, good."""
        known, until = self._verified.get(token, (None, 0.0))
        if known is not None and time.monotonic() < until:
            return known.model_copy()
        self._verified.pop(token, None)
        found = await super().load_access_token(token)
        if not isinstance(found, AccessToken):
            return None
        if len(self._verified) >= MAX_VERIFIED:
            self._verified.clear()
        self._verified[token] = found, time.monotonic() + VERIFIED_SECONDS
        return found

    def _get_verification_token(self, upstream_token_set: UpstreamTokenSet) -> str | None:
        known = upstream_token_set.raw_token_data
        return json.dumps(
            {
                "id": upstream_token_set.upstream_token_id,
                "client_id": upstream_token_set.client_id,
                "expires_at": upstream_token_set.expires_at,
                "subject": known["subject"],
                "identity": known["identity"],
            }
        )

    async def _try_transparent_refresh(
        self, upstream_token_set: UpstreamTokenSet
    ) -> UpstreamTokenSet:
        """Renew a session at the provider, or let it go on for a while if that is not there."""
        name, now = upstream_token_set.upstream_token_id, time.time()
        if self._next_try.get(name, 0) <= now:
            try:
                renewed = await super()._try_transparent_refresh(upstream_token_set)
            except httpx2.HTTPError as error:
                logger.warning("the identity provider cannot renew a session: %s", error)
                self._next_try[name] = time.time() + RETRY_SECONDS
            else:
                self._next_try.pop(name, None)
                return renewed
        if now > upstream_token_set.expires_at + GRACE_SECONDS:
            raise TokenError("invalid_grant", "the identity provider does not answer")
        # What is stored stays as it is.
        return upstream_token_set.model_copy(update={"expires_at": now + RETRY_SECONDS})

    async def revoke_token(self, token: SdkAccessToken | RefreshToken) -> None:
        """End the session of a token here, which FastMCP leaves to the provider, and there."""
        self._verified.clear()
        name: str | None = token.token
        if isinstance(token, RefreshToken):
            payload = self.jwt_issuer.verify_token(token.token, "refresh")
            mapping = await self._jti_mapping_store.get(key=payload["jti"])
            name = mapping.upstream_token_id if mapping else None
        session = await self._upstream_token_store.get(key=name) if name else None
        if session is None:
            return
        await self._upstream_token_store.delete(key=session.upstream_token_id)
        theirs = session.refresh_token or session.access_token
        await super().revoke_token(AccessToken(token=theirs, client_id=token.client_id, scopes=[]))


def build_oidc(settings: Settings) -> AuthProvider:
    """Return what lets in who the identity provider knows and the list has.

    Raises CodeintelError for what is missing, here or at the provider.
    """
    for name in ("issuer", "client_id", "allowed"):
        if not getattr(settings, f"oidc_{name}"):
            raise CodeintelError(f"{PREFIX}AUTH=oidc needs {PREFIX}OIDC_{name.upper()}")
    if not settings.oidc_client_secret.get_secret_value():
        raise CodeintelError(f"{PREFIX}AUTH=oidc needs {PREFIX}OIDC_CLIENT_SECRET")
    memory = open_folder(settings.state_dir) / "provider.json"
    return OidcProxy(settings, discover(settings.oidc_issuer, memory))


def _files(folder: Path) -> FileTreeStore:
    return FileTreeStore(
        data_directory=folder,
        key_sanitization_strategy=FileTreeV1KeySanitizationStrategy(folder),
        collection_sanitization_strategy=FileTreeV1CollectionSanitizationStrategy(folder),
    )


def _auth_method(metadata: dict[str, Any]) -> str:
    supported = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    for method in ("client_secret_basic", "client_secret_post"):
        if method in supported:
            return method
    raise CodeintelError(f"{metadata['issuer']} takes no client secret, only {supported}")


def _authorize_params(metadata: dict[str, Any], guests: Guests) -> dict[str, str]:
    """Return what the provider is asked for: who it is, and that the session may be renewed."""
    scopes = ["openid", *(["email"] if guests.need_email else [])]
    params = {}
    if "offline_access" in (metadata.get("scopes_supported") or ()):
        scopes.append("offline_access")
        params["prompt"] = "consent"  # OpenID Connect Core, 11
    elif metadata["issuer"] == "https://accounts.google.com":
        params = {"access_type": "offline", "prompt": "consent"}  # its own way
    return {**params, "scope": " ".join(scopes)}


def _guarded(
    response: HTMLResponse | RedirectResponse,
) -> HTMLResponse | RedirectResponse:
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    # With no-referrer a browser says that a form is from null, which the guard of origins refuses.
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def _refusal(ended: _FlowError, url: str) -> HTMLResponse:
    """Return a page with the reason, which goes on to the client: most of them only say denied."""
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Not signed in</title>"
        "<meta name=viewport content='width=device-width'>"
        "<style>body{font:1.1rem/1.5 system-ui;max-width:34rem;margin:15vh auto;padding:0 1rem}"
        "</style><h1>Not signed in</h1>"
        f"<p>{escape(str(ended))}.</p>"
        "<p>To come in as somebody else, sign out at the identity provider first.</p>"
        f'<p><a href="{escape(url)}">Back</a></p>'
    )
    status = 403 if ended.code == "access_denied" else 502
    headers = {"Cache-Control": "no-store", "Refresh": f"{REFUSAL_SECONDS}; url={url}"}
    return HTMLResponse(page, status, headers)


def _ascii(text: str) -> str:
    """Return `text` in the letters that RFC 6749 has for descriptions of errors."""
    return "".join(
        character if " " <= character <= "~" and character not in '"\\' else "?"
        for character in text
    )
