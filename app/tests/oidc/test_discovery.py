"""What is asked of a provider at the start, and what is believed of what it says."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import pytest
from codeintel.auth.discovery import discover
from codeintel.auth.oidc import Guests, Identity, OidcProxy, build_oidc
from codeintel.errors import CodeintelError
from codeintel.settings import Settings
from joserfc import jwk, jwt
from pydantic import SecretStr

Said = dict[str, Any]

KEY = jwk.RSAKey.generate_key(2048, {"kid": "one"})
FOREIGN_KEY = jwk.RSAKey.generate_key(2048, {"kid": "one"})


class Stub:
    """A provider that says what a test wants, by path; what is not JSON is a status."""

    def __init__(self) -> None:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                said = stub.said.get(self.path, 404)
                self.send_response(said if isinstance(said, int) else 200)
                self.end_headers()
                self.wfile.write(said if isinstance(said, bytes) else json.dumps(said).encode())

            def log_message(self, format: str, *_arguments: object) -> None:  # noqa: A002
                pass

        self.said: dict[str, Said | int | bytes] = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"
        self.metadata: Said = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/auth",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "userinfo_endpoint": f"{self.issuer}/me",
        }
        self.said["/jwks"] = {"keys": [KEY.as_dict(private=False)]}

    def says(self, **about: object) -> None:
        said = {**self.metadata, **about}
        kept = {name: value for name, value in said.items() if value is not None}
        self.said["/.well-known/openid-configuration"] = kept


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub()
    stub.says()
    Thread(target=stub.server.serve_forever, daemon=True).start()
    yield stub
    stub.server.shutdown()
    stub.server.server_close()


@pytest.fixture
def start(tmp_path: Path, stub: Stub) -> Callable[..., OidcProxy]:
    def build(**changed: object) -> OidcProxy:
        values: Said = {
            "state_dir": tmp_path,
            "oidc_issuer": stub.issuer,
            "oidc_client_id": "edge",
            "oidc_client_secret": SecretStr("secret"),
            "oidc_allowed": ("me@example.com",),
        }
        proxy = build_oidc(Settings(**(values | changed)))
        assert isinstance(proxy, OidcProxy)
        return proxy

    return build


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("oidc_issuer", ""),
        ("oidc_client_id", ""),
        ("oidc_client_secret", SecretStr("")),
        ("oidc_allowed", ()),
    ],
)
def test_the_start_is_refused_without(
    start: Callable[..., OidcProxy], name: str, value: object
) -> None:
    with pytest.raises(CodeintelError, match=f"CODEINTEL_{name.upper()}"):
        start(**{name: value})


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"token_endpoint": None}, "does not say its token_endpoint"),
        ({"jwks_uri": None}, "does not say its jwks_uri"),
        ({"authorization_endpoint": 7}, "does not say its authorization_endpoint"),
        ({"issuer": "https://other.example"}, "calls itself https://other.example"),
        ({"token_endpoint": "http://evil.example/token"}, "must be an https:// address"),
        ({"userinfo_endpoint": "http://127.0.0.1@evil.example"}, "must be an https:// address"),
        ({"token_endpoint_auth_methods_supported": ["private_key_jwt"]}, "no client secret"),
        ({"id_token_signing_alg_values_supported": ["HS256"]}, "in no way known here"),
    ],
)
def test_a_provider_that_misses_something_is_named(
    start: Callable[..., OidcProxy], stub: Stub, about: Said, message: str
) -> None:
    stub.says(**about)
    with pytest.raises(CodeintelError, match=message):
        start()


@pytest.mark.parametrize(
    ("said", "message"),
    [(404, "answers 404"), (b"<html>", "does not answer with JSON"), (b"[]", "JSON object")],
)
def test_what_is_no_provider_is_named(
    start: Callable[..., OidcProxy], stub: Stub, said: int | bytes, message: str
) -> None:
    stub.said["/.well-known/openid-configuration"] = said
    with pytest.raises(CodeintelError, match=message):
        start()


@pytest.mark.parametrize(
    "issuer", ["http://idp.example", "http://localhost.evil.example", "idp.example", "https://"]
)
def test_secrets_are_not_sent_in_clear(start: Callable[..., OidcProxy], issuer: str) -> None:
    with pytest.raises(CodeintelError, match="must be an https:// address"):
        start(oidc_issuer=issuer)


def test_an_issuer_that_is_not_there_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(CodeintelError, match=f"http://127.0.0.1:{port}/.* does not answer"):
        discover(f"http://127.0.0.1:{port}", tmp_path / "memory")


@contextmanager
def dripping() -> Iterator[str]:
    """Run a server that sends a byte now and then, so that no single read takes long."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
                for _ in range(50):
                    time.sleep(0.1)
                    connection.sendall(b" ")

        Thread(target=drip, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_the_start_never_hangs(tmp_path: Path) -> None:
    with dripping() as issuer:
        begun = time.monotonic()
        with pytest.raises(CodeintelError, match=r"does not answer within 0\.5 s"):
            discover(issuer, tmp_path / "memory", 0.5)
        assert time.monotonic() - begun < 2


def test_what_a_provider_has_said_serves_while_it_is_down(
    start: Callable[..., OidcProxy], stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    start()
    stub.said["/.well-known/openid-configuration"] = 503
    start()
    assert "going on with what it said at an earlier start" in caplog.text
    with pytest.raises(CodeintelError, match="does not answer"):  # of another, nothing is known
        start(oidc_issuer="http://127.0.0.1:9")


def test_a_slash_behind_the_issuer_does_not_matter(
    start: Callable[..., OidcProxy], stub: Stub
) -> None:
    start(oidc_issuer=f"{stub.issuer}/")


def test_a_damaged_secret_is_named(start: Callable[..., OidcProxy], tmp_path: Path) -> None:
    start()
    (tmp_path / "oidc/secret").write_text("")
    with pytest.raises(CodeintelError, match="oidc/secret is damaged"):
        start()


def test_another_provider_is_another_key(start: Callable[..., OidcProxy], stub: Stub) -> None:
    one = start()._jwt_signing_key
    assert start()._jwt_signing_key == one
    other = stub.issuer.replace("127.0.0.1", "localhost")
    stub.says(issuer=other)
    assert start(oidc_issuer=other)._jwt_signing_key != one


@pytest.mark.anyio
async def test_what_has_expired_leaves_the_disk(
    start: Callable[..., OidcProxy], tmp_path: Path
) -> None:
    proxy = start()
    await proxy._client_storage.put("old", {"a": 1}, collection="c", ttl=0.01)
    await proxy._client_storage.put("new", {"a": 1}, collection="c", ttl=60)
    await anyio.sleep(0.02)
    proxy._cull()
    assert proxy._culling is not None
    await proxy._culling
    assert len(list((tmp_path / "oidc/sessions").glob("*/*.json"))) == 1


@pytest.mark.parametrize(
    ("identity", "admitted"),
    [
        (Identity("s1"), True),
        (Identity("S1"), False),
        (Identity("s2", "me@example.com"), True),
        (Identity("s2", "ME@Example.com"), True),
        (Identity("s2", "you@example.com"), False),
        (Identity("me@example.com"), False),  # a subject that somebody has chosen
        (Identity("s2", "s1"), False),
        (Identity("s2", "\N{KELVIN SIGN}ay@example.com"), False),
        (Identity(""), False),
    ],
)
def test_the_list(identity: Identity, admitted: bool) -> None:
    guests = Guests(["s1", "me@example.com", "kay@example.com"])
    assert guests.have(identity) is admitted


def token(stub: Stub, key: jwk.RSAKey = KEY, algorithm: str = "RS256", **changed: object) -> str:
    claims: Said = {"iss": stub.issuer, "aud": "edge", "sub": "s2", "exp": int(time.time()) + 60}
    header = {"alg": algorithm, "kid": "one"}
    return jwt.encode(header, claims | changed, key, algorithms=[algorithm])


@pytest.mark.anyio
async def test_an_address_comes_from_the_token_or_from_userinfo(
    start: Callable[..., OidcProxy], stub: Stub
) -> None:
    identities = start().identities
    me: Said = {"sub": "s2", "email": "me@example.com", "email_verified": True}
    told = await identities.first({"id_token": token(stub, **me), "access_token": "any"})
    assert told == Identity("s2", "me@example.com")
    stub.said["/me"] = me
    told = await identities.first({"id_token": token(stub), "access_token": "any"})
    assert told == Identity("s2", "me@example.com")
    for unverified in (False, None, "true", 1):
        stub.said["/me"] = me | {"email_verified": unverified}
        told = await identities.first({"id_token": token(stub), "access_token": "any"})
        assert told == Identity("s2")
    stub.said["/me"] = me | {"sub": "s3"}
    with pytest.raises(Exception, match="two people"):
        await identities.first({"id_token": token(stub), "access_token": "any"})


@pytest.mark.anyio
async def test_id_tokens_that_are_not_believed(start: Callable[..., OidcProxy], stub: Stub) -> None:
    stub.said["/me"] = {"sub": "s2"}
    identities = start().identities
    await identities.first({"id_token": token(stub), "access_token": "any"})
    header, payload, _ = token(stub).split(".")
    secret = jwk.OctKey.import_key("secret" * 8)
    about = {"iss": stub.issuer, "aud": "edge", "sub": "s2"}
    for wrong in (
        token(stub, aud="another"),
        token(stub, iss="https://other.example"),
        token(stub, exp=int(time.time()) - 1),
        token(stub, sub=""),
        token(stub, key=FOREIGN_KEY),
        token(stub, algorithm="RS512"),
        jwt.encode({"alg": "HS256", "kid": "one"}, about, secret),
        f"{header}.{payload}.",
        "eyJhbGciOiJub25lIn0." + payload + ".",
        "none",
        None,
    ):
        with pytest.raises(Exception, match=r"not valid|JWT|token"):
            await identities.first({"id_token": wrong, "access_token": "any"})
