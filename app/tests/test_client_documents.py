"""Clients by the address of a document about them, which the server fetches from strangers."""

import gzip
import json
import secrets
import ssl
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx2
import pytest
from codeintel.app import create_app
from codeintel.auth import documents
from codeintel.auth.passwords import hash_password
from codeintel.settings import Settings
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from fastmcp.server.auth import ssrf
from fastmcp.server.auth.cimd import CIMDDocument, CIMDFetcher
from joserfc import jwk, jwt
from pydantic import SecretStr
from starlette.applications import Starlette

from .auth_client import CALLBACK, ORIGIN, PASSWORD, OAuthClient

pytestmark = pytest.mark.anyio

GRANTS = ["authorization_code", "refresh_token"]
Run = Callable[[Starlette], AbstractAsyncContextManager[httpx2.AsyncClient]]


@pytest.fixture
def owned(index_dir: Path, tmp_path: Path) -> Settings:
    return Settings(
        public_url=ORIGIN,
        index_dir=index_dir,
        state_dir=tmp_path / "state",
        auth="owner",
        owner_password=SecretStr(hash_password(PASSWORD)),
        client_documents=True,
        rate_limit=None,
    )


@pytest.fixture
async def documented(owned: Settings, run: Run) -> AsyncIterator[OAuthClient]:
    async with run(create_app(owned)) as http:
        http.base_url = httpx2.URL(ORIGIN)
        yield OAuthClient(http, client_id="https://client.example/metadata.json")


def describe(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    async def fetch(_fetcher: CIMDFetcher, url: str) -> CIMDDocument:
        about = {"client_id": url, "client_name": "Documented", "redirect_uris": [CALLBACK]}
        return CIMDDocument.model_validate(about | changes)

    monkeypatch.setattr(CIMDFetcher, "fetch", fetch)


async def test_a_document_is_a_client(
    documented: OAuthClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe(monkeypatch)
    answer = await documented.exchange(await documented.code())
    assert (await documented.call(answer.json()["access_token"])).status_code == 200


async def test_the_metadata_says_that_documents_are_taken(documented: OAuthClient) -> None:
    answer = await documented.http.get("/.well-known/oauth-authorization-server")
    metadata = answer.json()
    assert metadata["client_id_metadata_document_supported"] is True
    for endpoint in ("token", "revocation"):
        methods = metadata[f"{endpoint}_endpoint_auth_methods_supported"]
        assert {"none", "private_key_jwt"} <= set(methods)
        assert "ES256" in metadata[f"{endpoint}_endpoint_auth_signing_alg_values_supported"]


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://client.example/metadata.json", "client.example"),
        ("https://client.example:8443/metadata.json", "client.example:8443"),
        ("https://claude.ai@client.example/metadata.json", "client.example"),
    ],
)
async def test_the_page_says_where_the_document_is(
    documented: OAuthClient, monkeypatch: pytest.MonkeyPatch, address: str, host: str
) -> None:
    """Of all that it says of the client only that is certain."""
    describe(monkeypatch, client_name="Claude")
    documented.client_id = address
    page = await documented.http.get((await documented.authorize()).headers["location"])
    assert f"the document that says so is from <strong>{host}</strong>" in page.text
    await documented.register()
    page = await documented.http.get((await documented.authorize()).headers["location"])
    assert "document" not in page.text


@pytest.mark.parametrize("grants", [None, ["authorization_code"], GRANTS])
async def test_who_cannot_refresh_gets_no_refresh_token(
    documented: OAuthClient, monkeypatch: pytest.MonkeyPatch, grants: list[str] | None
) -> None:
    describe(monkeypatch, **({} if grants is None else {"grant_types": grants}))
    tokens = (await documented.exchange(await documented.code())).json()
    assert (await documented.call(tokens["access_token"])).status_code == 200
    assert ("refresh_token" in tokens) == (grants == GRANTS)
    if grants == GRANTS:
        assert (await documented.refresh(tokens["refresh_token"])).status_code == 200


async def test_a_client_may_sign(documented: OAuthClient, monkeypatch: pytest.MonkeyPatch) -> None:
    key = jwk.ECKey.generate_key("P-256", {"kid": "one"})
    keys = {"keys": [key.as_dict(private=False)]}
    describe(
        monkeypatch,
        token_endpoint_auth_method="private_key_jwt",
        jwks=keys,
        grant_types=GRANTS,
    )

    def signed(by: jwk.ECKey = key, audience: str = f"{ORIGIN}/token") -> dict[str, str]:
        name = documented.client_id
        now = int(time.time())
        claims: dict[str, str | int] = {"iss": name, "sub": name, "aud": audience}
        claims |= {"iat": now, "exp": now + 60, "jti": secrets.token_hex()}
        return {
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": jwt.encode({"alg": "ES256", "kid": "one"}, claims, by),
        }

    code = await documented.code()
    foreign = jwk.ECKey.generate_key("P-256", {"kid": "one"})
    for wrong in ({}, signed(foreign), signed(audience="https://other.example/token")):
        refused = await documented.exchange(code, **wrong)
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    proof = signed()
    tokens = (await documented.exchange(code, **proof)).json()
    assert (await documented.call(tokens["access_token"])).status_code == 200
    assert (await documented.refresh(tokens["refresh_token"], **proof)).status_code == 401  # again
    tokens = (await documented.refresh(tokens["refresh_token"], **signed())).json()
    revoked = {"token": tokens["access_token"], "client_id": documented.client_id}
    assert (await documented.http.post("/revoke", data=revoked)).status_code == 401
    assert (await documented.http.post("/revoke", data=revoked | signed())).status_code == 200
    assert (await documented.call(tokens["access_token"])).status_code == 401


async def test_a_document_cannot_send_anybody_elsewhere(
    documented: OAuthClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = "https://evil.example/callback"
    describe(monkeypatch, redirect_uris=[CALLBACK, evil])
    for changes in ({}, {"resource": "https://other.example"}, {"code_challenge": None}):
        answer = await documented.authorize(redirect_uri=evil, **changes)
        assert answer.status_code == 400, changes
        assert "location" not in answer.headers


async def test_the_owner_may_add_callbacks(
    owned: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, evil = "https://me.example/callback", "https://evil.example/callback"
    describe(monkeypatch, redirect_uris=[mine, evil])
    async with run(create_app(owned.model_copy(update={"redirect_uris": (mine,)}))) as http:
        http.base_url = httpx2.URL(ORIGIN)
        client = OAuthClient(http, mine, "https://client.example/metadata.json")
        assert (await client.exchange(await client.code())).status_code == 200
        assert (await client.authorize(redirect_uri=evil)).status_code == 400


@pytest.mark.parametrize(
    "address",
    [
        "https://127.0.0.1/metadata.json",
        "https://[::1]/metadata.json",
        "https://localhost/metadata.json",
        "https://10.0.0.1/metadata.json",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:127.0.0.1]/metadata.json",
        "http://client.example/metadata.json",
    ],
)
async def test_no_document_leads_the_server_to_its_neighbours(
    documented: OAuthClient, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_arguments: object, **_named: object) -> None:
        pytest.fail("connected")

    monkeypatch.setattr("anyio.connect_tcp", connect)
    answer = await documented.authorize(client_id=address)
    assert answer.status_code == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize("neighbour", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "fd00::1"])
async def test_no_name_leads_the_server_to_its_neighbours(
    documented: OAuthClient, neighbour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor one that has an address of the internet beside it."""

    async def resolve(_name: str, _port: int = 443) -> list[str]:
        return ["198.41.0.4", neighbour]

    def connect(*_arguments: object, **_named: object) -> None:
        pytest.fail("connected")

    monkeypatch.setattr(ssrf, "resolve_hostname", resolve)
    monkeypatch.setattr("anyio.connect_tcp", connect)
    assert (await documented.authorize()).status_code == 400


# A server on the internet, so to speak: the fetcher's own list of addresses lets this one pass.


class Stranger:
    """A web server at https://client.example, whose answers are by path what a test wants."""

    def __init__(self, folder: Path) -> None:
        stranger = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                stranger.asked.append(self.path)
                with suppress(OSError):  # who asked has gone
                    stranger.answer(self)
                self.close_connection = True

            def log_message(self, format: str, *_arguments: object) -> None:  # noqa: A002
                pass

        self.asked: list[str] = []
        self.sent = 0
        self.answer: Callable[[BaseHTTPRequestHandler], None] = self.document
        self.certificate = folder / "certificate.pem"
        self.certificate.write_bytes(_self_signed("client.example"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.address = f"https://client.example:{self.server.server_port}/metadata.json"

    def write(self, handler: BaseHTTPRequestHandler, data: bytes) -> None:
        handler.wfile.write(data)
        self.sent += len(data)

    def say(self, handler: BaseHTTPRequestHandler, body: bytes, **headers: str) -> None:
        handler.send_response(200)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        self.write(handler, body)

    def document(self, handler: BaseHTTPRequestHandler) -> None:
        self.say(handler, self.about())

    def about(self, **more: object) -> bytes:
        about = {
            "client_id": self.address,
            "client_name": "Documented",
            "redirect_uris": [CALLBACK],
        }
        return json.dumps(about | more).encode()


def _self_signed(name: str) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM) + private


@pytest.fixture
def stranger(
    documented: OAuthClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stranger]:
    async def resolve(name: str, _port: int = 443) -> list[str]:
        return ["127.0.0.1" if name.endswith(".example") else name]

    stranger = Stranger(tmp_path)
    monkeypatch.setattr(ssrf, "resolve_hostname", resolve)
    monkeypatch.setattr(ssrf, "is_ip_allowed", lambda address: address == "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(stranger.certificate))
    Thread(target=stranger.server.serve_forever, daemon=True).start()
    documented.client_id = stranger.address
    yield stranger
    stranger.server.shutdown()
    stranger.server.server_close()


async def is_refused(client: OAuthClient) -> bool:
    answer = await client.authorize()
    return answer.status_code == 400 and "location" not in answer.headers


async def test_a_fetched_document_is_a_client(documented: OAuthClient, stranger: Stranger) -> None:
    answer = await documented.exchange(await documented.code())
    assert (await documented.call(answer.json()["access_token"])).status_code == 200
    assert set(stranger.asked) == {"/metadata.json"}


async def test_a_certificate_is_looked_at(
    documented: OAuthClient, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    assert await is_refused(documented)
    documented.client_id = stranger.address.replace("client.", "other.")
    monkeypatch.setenv("SSL_CERT_FILE", str(stranger.certificate))
    assert await is_refused(documented)
    assert stranger.asked == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(
    documented: OAuthClient, stranger: Stranger, status: int
) -> None:
    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        if handler.path != "/metadata.json":
            stranger.document(handler)
            return
        handler.send_response(status)
        handler.send_header("Location", "/elsewhere")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    stranger.answer = elsewhere
    assert await is_refused(documented)
    assert stranger.asked == ["/metadata.json"]


@pytest.mark.parametrize("kind", ["declared", "endless", "inflating"])
async def test_a_large_document_is_not_read(
    documented: OAuthClient, stranger: Stranger, kind: str
) -> None:
    bomb = gzip.compress(stranger.about(contacts=["x" * 50_000_000]))

    def large(handler: BaseHTTPRequestHandler) -> None:
        match kind:
            case "declared":
                stranger.say(handler, stranger.about(contacts=["x" * 6_000]))
            case "inflating":
                handler.send_response(200)
                handler.send_header("Content-Encoding", "gzip")
                handler.send_header("Connection", "close")
                handler.end_headers()
                stranger.write(handler, bomb)
            case "endless":
                handler.send_response(200)
                handler.send_header("Connection", "close")
                handler.end_headers()
                while True:
                    stranger.write(handler, b" " * 65_536)

    stranger.answer = large
    tracemalloc.start()
    try:
        assert await is_refused(documented)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert stranger.asked == ["/metadata.json"]
    assert peak < 10_000_000
    assert stranger.sent < 10_000_000  # of which most waits in the socket


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"{", b"[]", b"null", b"\xff\xfe", b'{"a": "\xe4"}', b"[" * 5_000],
    ids=["nothing", "html", "half", "list", "null", "utf-16", "latin-1", "deep"],
)
async def test_what_is_no_document_is_refused(
    documented: OAuthClient, stranger: Stranger, body: bytes
) -> None:
    stranger.answer = lambda handler: stranger.say(handler, body)
    assert await is_refused(documented)
    assert stranger.asked == ["/metadata.json"]


@pytest.mark.parametrize(
    "about",
    [
        {"client_id": "https://client.example/other.json"},
        {"redirect_uris": []},
        {"token_endpoint_auth_method": "client_secret_basic"},
        {"jwks_uri": "https://10.0.0.1/keys"},
    ],
)
async def test_a_document_says_what_it_must(
    documented: OAuthClient, stranger: Stranger, about: dict[str, object]
) -> None:
    stranger.answer = lambda handler: stranger.say(handler, stranger.about(**about))
    assert await is_refused(documented)


@pytest.mark.parametrize("kind", ["silent", "head", "body"])
async def test_a_slow_server_is_left(
    documented: OAuthClient, stranger: Stranger, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one of which no single read takes long."""

    def slow(handler: BaseHTTPRequestHandler) -> None:
        if kind == "body":
            handler.send_response(200)
            handler.send_header("Content-Length", "5000")
            handler.end_headers()
        elif kind == "head":
            stranger.write(handler, b"HTTP/1.1 200 OK\r\nX-Slow: ")
        for _ in range(60):
            time.sleep(0.1)
            if kind != "silent":
                stranger.write(handler, b" ")

    stranger.answer = slow
    monkeypatch.setattr(documents, "SECONDS", 0.5)
    began = time.monotonic()
    assert await is_refused(documented)
    assert time.monotonic() - began < 2
    assert stranger.asked == ["/metadata.json"]


@pytest.mark.parametrize("away", ["status", "name"])
async def test_a_session_outlives_a_site_that_is_down(
    documented: OAuthClient, stranger: Stranger, away: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unkept(handler: BaseHTTPRequestHandler) -> None:
        stranger.say(handler, stranger.about(grant_types=GRANTS), Cache_Control="no-store")

    async def nowhere(name: str, _port: int = 443) -> list[str]:
        raise ssrf.SSRFError(f"DNS resolution failed for {name}")

    stranger.answer = unkept
    tokens = (await documented.exchange(await documented.code())).json()
    with monkeypatch.context() as down:
        if away == "name":
            down.setattr(ssrf, "resolve_hostname", nowhere)
        else:
            stranger.answer = lambda handler: handler.send_error(500)
        answer = await documented.refresh(tokens["refresh_token"])
        assert answer.status_code == 503  # and not one that ends the session
        assert int(answer.headers["retry-after"]) > 0
        revoked = {"token": tokens["access_token"], "client_id": documented.client_id}
        assert (await documented.http.post("/revoke", data=revoked)).status_code == 503
        assert await is_refused(documented)
    stranger.answer = unkept
    assert (await documented.refresh(tokens["refresh_token"])).status_code == 200


async def test_a_strange_port_is_the_clients_fault(documented: OAuthClient) -> None:
    documented.client_id = "https://client.example:99999/metadata.json"
    assert await is_refused(documented)
