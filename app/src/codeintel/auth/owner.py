"""An OAuth 2.1 authorization server for one owner, inside the application."""

import json
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from fastmcp.server.auth import AccessToken
from fastmcp.server.auth.auth import OAuthProvider, TokenHandler
from fastmcp.server.auth.cimd import ASSERTION_ALGORITHMS
from fastmcp.server.auth.oauth_proxy.models import ProxyDCRClient
from fastmcp.server.auth.redirect_validation import build_client_redirect
from fastmcp.server.dependencies import get_http_request
from mcp.server.auth.handlers.authorize import AuthorizationHandler
from mcp.server.auth.handlers.metadata import MetadataHandler
from mcp.server.auth.handlers.token import TokenErrorResponse
from mcp.server.auth.json_response import PydanticJSONResponse
from mcp.server.auth.middleware.client_auth import AuthenticationError
from mcp.server.auth.provider import (
    AccessToken as SdkAccessToken,
)
from mcp.server.auth.provider import (
    AuthorizationCode,
    AuthorizationParams,
    AuthorizeError,
    RefreshToken,
    RegistrationError,
    TokenError,
)
from mcp.server.auth.routes import build_metadata, cors_middleware
from mcp.server.auth.settings import ClientRegistrationOptions, RevocationOptions
from mcp.shared.auth import InvalidRedirectUriError, OAuthClientInformationFull, OAuthToken
from pydantic import AnyUrl
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from codeintel.auth.consent import PATH, Consent, ConsentRequest
from codeintel.auth.documents import Authenticator, Documents
from codeintel.auth.origin import parse_origin
from codeintel.auth.redirects import is_allowed, is_same_program
from codeintel.auth.store import AuthStore, digest
from codeintel.peer import network_key

SUBJECT = "owner"

CODE_SECONDS = 60
ACCESS_SECONDS = 3600
REFRESH_SECONDS = 60 * 86_400
"""A client that has not been used for this long has to ask again."""

MAX_NAME = 80
MAX_REDIRECTS = 10
MAX_REQUEST = 4_000
"""Characters of all that a client asks for: it travels in an address."""

logger = logging.getLogger(__name__)


class OwnerProvider(OAuthProvider):
    """Lets in the clients that the owner allows, by a password, on a page of its own.

    Anybody may register a client; it gets nothing without the owner. Codes live a minute and work
    once. A refresh token works once too: whoever brings one again ends all that came of the same
    consent, as one of the two must have stolen it.
    """

    def __init__(
        self,
        store: AuthStore,
        public_url: str,
        *,
        password_hash: str,
        redirect_uris: Sequence[str] = (),
        client_documents: bool = False,
    ) -> None:
        """Serve at the origin `public_url`; `redirect_uris` are allowed beside the known ones.

        With `client_documents` a client may be the address of a document that describes it.
        """
        self._registration = ClientRegistrationOptions(enabled=True)
        self._revocation = RevocationOptions(enabled=True)
        self._origin = parse_origin(public_url)
        super().__init__(
            base_url=self._origin,
            client_registration_options=self._registration,
            revocation_options=self._revocation,
        )
        self._store = store
        self._redirect_uris = tuple(redirect_uris)
        self._documents = Documents(enable_cimd=client_documents)
        key = store.secret("consent", secrets.token_bytes(32))
        self._consent = Consent(key, public_url, password_hash, self._admit, self._deny)

    # What clients are.

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        """Return the client, with those of its callbacks that are allowed now; else None."""
        if self._documents.is_cimd_client_id(client_id):
            found = await self._documents.get_client(client_id)
            if found is None:
                return None
            described = {name: getattr(found, name) for name in type(found).model_fields}
            return _Documented(**described, extra=self._redirect_uris)
        query = "SELECT info FROM clients WHERE id = ?"
        row = self._store.database.execute(query, (client_id,)).fetchone()
        if row is None:
            return None
        client = _Registered.model_validate_json(row[0])
        client.redirect_uris = [uri for uri in client.redirect_uris or () if self._may(uri)]
        return client if client.redirect_uris else None

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        """Keep a client. Raises RegistrationError unless all its callbacks are allowed."""
        uris = client_info.redirect_uris or []
        if not 0 < len(uris) <= MAX_REDIRECTS:
            raise RegistrationError("invalid_redirect_uri", f"give 1 to {MAX_REDIRECTS} of them")
        for uri in uris:
            if not self._may(uri):
                raise RegistrationError(
                    "invalid_redirect_uri",
                    f"{str(uri)[:200]} is not allowed; the owner may add it to"
                    " CODEINTEL_REDIRECT_URIS",
                )
        info = client_info.model_dump_json(exclude_none=True)
        if len(info) > MAX_REQUEST:
            raise RegistrationError("invalid_client_metadata", "it is too long")
        network = network_key(get_http_request().scope)
        self._store.database.execute(
            "INSERT INTO clients (id, info, created, network) VALUES (?, ?, ?, ?)",
            (client_info.client_id, info, int(time.time()), network),
        )
        self._store.sweep()

    def _may(self, uri: AnyUrl | str) -> bool:
        return is_allowed(str(uri), self._redirect_uris)

    # The way in.

    async def authorize(
        self, client: OAuthClientInformationFull, params: AuthorizationParams
    ) -> str:
        """Return the page that asks the owner. Raises AuthorizeError for what cannot be asked."""
        if params.resource is not None and not self.is_here(params.resource):
            raise AuthorizeError("invalid_target", f"this is {self._resource_url}")
        client_id = client.client_id or ""
        request = ConsentRequest(
            client_id=client_id,
            client=client if isinstance(client, _Registered) else None,
            site=urlsplit(client_id).netloc.rpartition("@")[2],
            name=" ".join((client.client_name or client_id).split())[:MAX_NAME],
            redirect_uri=str(params.redirect_uri),
            explicit=params.redirect_uri_provided_explicitly,
            state=params.state,
            scopes=params.scopes or [],
            challenge=params.code_challenge,
            resource=params.resource,
        )
        url = self._consent.url(request)
        if len(url) > 2 * MAX_REQUEST:
            raise AuthorizeError("invalid_request", "the request is too long")
        return url

    def _admit(self, asked: ConsentRequest) -> str:
        code = secrets.token_urlsafe(32)
        now = int(time.time())
        with self._store.transaction() as database:
            database.execute(
                "INSERT INTO codes (hash, about, family, expires) VALUES (?, ?, ?, ?)",
                (
                    digest(code),
                    asked.model_dump_json(exclude={"client"}),
                    uuid4().hex,
                    now + CODE_SECONDS,
                ),
            )
            if asked.client is not None:
                database.execute(
                    "INSERT INTO clients (id, info, created, admitted) VALUES (?1, ?2, ?3, ?3)"
                    " ON CONFLICT (id) DO UPDATE SET admitted = excluded.admitted",
                    (asked.client_id, asked.client.model_dump_json(exclude_none=True), now),
                )
        return self._back(asked, code=code)

    def _deny(self, asked: ConsentRequest) -> str:
        return self._back(asked, error="access_denied", error_description="the owner said no")

    def _back(self, asked: ConsentRequest, **answer: str) -> str:
        if asked.state is not None:
            answer["state"] = asked.state
        url: str = build_client_redirect(asked.redirect_uri, answer, iss=str(self.issuer_url))
        return url

    # Codes and tokens.

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        """Return what the code stands for; one that comes again ends what came of it."""
        self._store.sweep()
        query = "SELECT about, family, expires, spent FROM codes WHERE hash = ?"
        row = self._store.database.execute(query, (digest(authorization_code),)).fetchone()
        if row is None:
            return None
        about, family, expires, spent = row
        asked = ConsentRequest.model_validate_json(about)
        if spent:
            logger.warning("a code of %s came again; its tokens end", asked.client_id)
            self._store.end_family(family)
            return None
        if asked.client_id != client.client_id:
            return None
        return AuthorizationCode(
            code=authorization_code,
            scopes=asked.scopes,
            expires_at=expires,
            client_id=asked.client_id,
            code_challenge=asked.challenge,
            redirect_uri=AnyUrl(asked.redirect_uri),
            redirect_uri_provided_explicitly=asked.explicit,
            resource=asked.resource,
            subject=SUBJECT,
        )

    async def exchange_authorization_code(
        self,
        client: OAuthClientInformationFull,
        authorization_code: AuthorizationCode,
    ) -> OAuthToken:
        """Return the first tokens. Raises TokenError if the code has been spent meanwhile."""
        hashed = digest(authorization_code.code)
        with self._store.transaction() as database:
            spend = "UPDATE codes SET spent = 1 WHERE hash = ? AND NOT spent RETURNING family"
            row = database.execute(spend, (hashed,)).fetchone()
            if row is None:
                raise TokenError("invalid_grant", "the code has been used")
            code = authorization_code
            return self._issue(row[0], client, code.scopes, code.resource)

    async def load_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: str
    ) -> RefreshToken | None:
        """Return the token if it is one of `client`; one that comes again ends its family."""
        query = (
            "SELECT family, client, scopes, resource, expires, spent FROM tokens"
            " WHERE hash = ? AND kind = 'refresh'"
        )
        row = self._store.database.execute(query, (digest(refresh_token),)).fetchone()
        if row is None:
            return None
        family, owner, scopes, resource, expires, spent = row
        if owner != client.client_id:
            return None
        if spent:
            logger.warning("a refresh token of %s came again; its tokens end", owner)
            self._store.end_family(family)
            return None
        return RefreshToken(
            token=refresh_token,
            client_id=owner,
            scopes=json.loads(scopes),
            expires_at=expires,
            resource=resource,
            subject=SUBJECT,
        )

    async def exchange_refresh_token(
        self,
        client: OAuthClientInformationFull,
        refresh_token: RefreshToken,
        scopes: list[str],
    ) -> OAuthToken:
        """Return new tokens, and spend the old one. Raises TokenError if it was spent meanwhile."""
        with self._store.transaction() as database:
            spend = "UPDATE tokens SET spent = 1 WHERE hash = ? AND NOT spent RETURNING family"
            row = database.execute(spend, (digest(refresh_token.token),)).fetchone()
            if row is None:
                raise TokenError("invalid_grant", "the token has been used")
            return self._issue(row[0], client, scopes, refresh_token.resource)

    def _issue(
        self,
        family: str,
        client: OAuthClientInformationFull,
        scopes: list[str],
        resource: str | None,
    ) -> OAuthToken:
        now = int(time.time())
        lives = {"access": ACCESS_SECONDS}
        if "refresh_token" in client.grant_types:  # a document need not say so
            lives["refresh"] = REFRESH_SECONDS
        tokens = {kind: secrets.token_urlsafe(32) for kind in lives}
        for kind, token in tokens.items():
            self._store.database.execute(
                "INSERT INTO tokens (hash, kind, family, client, scopes, resource, expires)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    digest(token),
                    kind,
                    family,
                    client.client_id,
                    json.dumps(scopes),
                    resource,
                    now + lives[kind],
                ),
            )
        return OAuthToken(
            access_token=tokens["access"],
            expires_in=ACCESS_SECONDS,
            refresh_token=tokens.get("refresh"),
            scope=" ".join(scopes),
        )

    async def load_access_token(self, token: str) -> AccessToken | None:
        """Return whose the token is; None for one that is unknown or over."""
        query = (
            "SELECT client, scopes, resource, expires FROM tokens"
            " WHERE hash = ? AND kind = 'access' AND expires > ?"
        )
        row = self._store.database.execute(query, (digest(token), int(time.time()))).fetchone()
        if row is None:
            return None
        client, scopes, resource, expires = row
        return AccessToken(
            token=token,
            client_id=client,
            scopes=json.loads(scopes),
            expires_at=expires,
            resource=resource,
            subject=SUBJECT,
        )

    async def revoke_token(self, token: SdkAccessToken | RefreshToken) -> None:
        """End the token, and all that came of the same consent."""
        query = "SELECT family FROM tokens WHERE hash = ?"
        row = self._store.database.execute(query, (digest(token.token),)).fetchone()
        if row is not None:
            self._store.end_family(row[0])

    # Where all that is.

    def get_routes(self, mcp_path: str | None = None) -> list[Route]:
        """Return the routes of FastMCP, with what is missing there.

        "none" among the ways to authenticate, which Claude looks for; issuer identification, of
        errors too; the metadata of the resource at the root too; the resource that a token is asked
        for; and the revocation by clients without a secret.
        """
        routes = super().get_routes(mcp_path)
        metadata = build_metadata(self._origin, None, self._registration, self._revocation)
        methods = ["none", "client_secret_post", "client_secret_basic"]
        metadata.token_endpoint_auth_methods_supported = methods
        metadata.revocation_endpoint_auth_methods_supported = methods
        metadata.authorization_response_iss_parameter_supported = True
        metadata.client_id_metadata_document_supported = self._documents.enabled
        if self._documents.enabled:
            methods.append("private_key_jwt")
            algorithms = sorted(ASSERTION_ALGORITHMS)
            metadata.token_endpoint_auth_signing_alg_values_supported = algorithms
            metadata.revocation_endpoint_auth_signing_alg_values_supported = algorithms
        described = cors_middleware(MetadataHandler(metadata).handle, ["GET", "OPTIONS"])
        authenticator = Authenticator(self, self._documents, str(metadata.token_endpoint))
        token = _Token(provider=self, client_authenticator=authenticator)
        revocation = _Revocation(self, authenticator)
        ours: dict[str, Callable[..., Any]] = {
            "/.well-known/oauth-authorization-server": described,
            "/authorize": _Authorization(self).handle,
            "/token": cors_middleware(token.handle, ["POST", "OPTIONS"]),
            "/revoke": cors_middleware(revocation.handle, ["POST", "OPTIONS"]),
        }
        changed = [
            Route(route.path, ours.get(route.path, route.endpoint), methods=route.methods)
            for route in routes
        ]
        resource = next(r for r in routes if r.path.startswith("/.well-known/oauth-protected"))
        return [
            *changed,
            Route("/.well-known/openid-configuration", described, methods=["GET", "OPTIONS"]),
            Route("/.well-known/oauth-protected-resource", resource.endpoint, methods=["GET"]),
            Route(PATH, self._consent.page, methods=["GET"]),
            Route(PATH, self._consent.decide, methods=["POST"]),
        ]

    def is_here(self, resource: str) -> bool:
        """Say whether a token for `resource` is one for this server."""
        here = {str(url).rstrip("/") for url in (self._resource_url, self.base_url) if url}
        return resource.rstrip("/") in here


class _Registered(OAuthClientInformationFull):
    """A client that has registered itself."""

    def validate_redirect_uri(self, redirect_uri: AnyUrl | None) -> AnyUrl:
        """Return where the browser may be sent. Raises InvalidRedirectUriError for other places."""
        known = self.redirect_uris or ()
        if redirect_uri and any(is_same_program(str(redirect_uri), str(uri)) for uri in known):
            return redirect_uri
        return super().validate_redirect_uri(redirect_uri)


class _Documented(ProxyDCRClient):
    """A client that a document describes, which may name any callback."""

    extra: tuple[str, ...]

    def validate_redirect_uri(self, redirect_uri: AnyUrl | None) -> AnyUrl:
        """Return where the browser may be sent. Raises InvalidRedirectUriError for other places."""
        uri: AnyUrl = super().validate_redirect_uri(redirect_uri)
        if not is_allowed(str(uri), self.extra):
            raise InvalidRedirectUriError(f"{str(uri)[:200]} is not allowed")
        return uri


class _Authorization(AuthorizationHandler):
    """The SDK's authorization endpoint, which does not say who sends the browser back."""

    provider: OwnerProvider

    async def handle(self, request: Request) -> Response:
        answer = await super().handle(request)
        url = answer.headers.get("location", "")
        if "error" in parse_qs(urlsplit(url).query):
            issuer = str(self.provider.issuer_url)
            answer.headers["location"] = build_client_redirect(url, {}, iss=issuer)
        return answer


class _Token(TokenHandler):
    """FastMCP's token endpoint, which does not look at the resource that is asked for."""

    provider: OwnerProvider

    async def handle(self, request: Request) -> Response:
        resource = (await request.form()).get("resource")
        if not (
            resource is None or (isinstance(resource, str) and self.provider.is_here(resource))
        ):
            error = TokenErrorResponse(
                error="invalid_target", error_description="that is another server"
            )
            headers = {"Cache-Control": "no-store"}
            return PydanticJSONResponse(error, status_code=400, headers=headers)
        answer: Response = await super().handle(request)
        return answer


class _Revocation:
    """The revocation endpoint; the SDK's refuses clients that have no secret."""

    def __init__(self, provider: OwnerProvider, authenticator: Authenticator) -> None:
        self._provider = provider
        self._authenticator = authenticator

    async def handle(self, request: Request) -> Response:
        headers = {"Cache-Control": "no-store"}
        try:
            client = await self._authenticator.authenticate_request(request)
        except AuthenticationError as error:
            body = {"error": "invalid_client", "error_description": error.message}
            return JSONResponse(body, 401, headers=headers)
        token = (await request.form()).get("token")
        if not isinstance(token, str):
            body = {"error": "invalid_request", "error_description": "give a token"}
            return JSONResponse(body, 400, headers=headers)
        provider = self._provider
        found = await provider.load_access_token(token) or await provider.load_refresh_token(
            client, token
        )
        if found is not None and found.client_id == client.client_id:
            await provider.revoke_token(found)
        return JSONResponse({}, headers=headers)
