"""The owner's way in, and every other way, which leads nowhere."""

import asyncio
import base64
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from codeintel.app import create_app
from codeintel.auth import build_auth, consent
from codeintel.auth.passwords import hash_password
from codeintel.auth.store import FILE, AuthStore
from codeintel.auth.tokens import NamedTokens, add_token, revoke_token
from codeintel.cli import main
from codeintel.errors import CodeintelError
from codeintel.settings import Settings
from cryptography.fernet import Fernet
from pydantic import SecretStr
from starlette.applications import Starlette

from .auth_client import CALLBACK, ORIGIN, PASSWORD, OAuthClient, leads_to, query_of

pytestmark = pytest.mark.anyio

HASHED = SecretStr(hash_password(PASSWORD))
Run = Callable[[Starlette], AbstractAsyncContextManager[httpx2.AsyncClient]]


@pytest.fixture
def owned(index_dir: Path, tmp_path: Path) -> Settings:
    return Settings(
        public_url=ORIGIN,
        index_dir=index_dir,
        state_dir=tmp_path / "state",
        auth="owner",
        owner_password=HASHED,
        rate_limit=None,
    )


@pytest.fixture
async def http(owned: Settings, run: Run) -> AsyncIterator[httpx2.AsyncClient]:
    async with run(create_app(owned)) as client:
        client.base_url = httpx2.URL(ORIGIN)
        yield client


@pytest.fixture
def client(http: httpx2.AsyncClient) -> OAuthClient:
    return OAuthClient(http)


def at(client: OAuthClient, address: str) -> OAuthClient:
    """Return the same client with another browser, at another address."""
    app = client.http._transport.app  # type: ignore[attr-defined]
    transport = httpx2.ASGITransport(app, client=(address, 5))
    http = httpx2.AsyncClient(transport=transport, base_url=ORIGIN)
    return OAuthClient(http, client_id=client.client_id)


async def test_the_whole_way_in_and_out(client: OAuthClient, owned: Settings) -> None:
    assert (await client.register()).status_code == 201
    form = await client.form()
    decided = await client.decide(form)
    assert leads_to(decided).startswith(f"{CALLBACK}?")
    answer = query_of(decided)
    assert (answer["state"], answer["iss"]) == (client.state, ORIGIN)
    tokens = (await client.exchange(answer["code"])).json()
    assert tokens["token_type"] == "Bearer"
    assert (await client.call(tokens["access_token"])).status_code == 200
    kept = (owned.state_dir / FILE).read_bytes()
    kept += b"".join(file.read_bytes() for file in owned.state_dir.glob(f"{FILE}-*"))
    for secret in (tokens["access_token"], tokens["refresh_token"], answer["code"], PASSWORD):
        assert secret.encode() not in kept
    revoked = {"token": tokens["access_token"], "client_id": client.client_id}
    assert (await client.http.post("/revoke", data=revoked)).status_code == 200
    assert (await client.call(tokens["access_token"])).status_code == 401
    assert (await client.refresh(tokens["refresh_token"])).status_code == 401


async def test_refreshing_goes_on_and_the_old_access_token_lives_out(client: OAuthClient) -> None:
    tokens = await client.tokens()
    fresh = (await client.refresh(tokens["refresh_token"])).json()
    for token in (tokens, fresh):
        assert (await client.call(token["access_token"])).status_code == 200
    assert (await client.refresh(fresh["refresh_token"])).status_code == 200


async def test_what_was_allowed_survives_a_restart(
    owned: Settings, run: Run, client: OAuthClient
) -> None:
    tokens = await client.tokens()
    async with run(create_app(owned)) as again:
        again.base_url = httpx2.URL(ORIGIN)
        restarted = OAuthClient(again, client_id=client.client_id)
        assert (await restarted.call(tokens["access_token"])).status_code == 200
        assert (await restarted.refresh(tokens["refresh_token"])).status_code == 200


async def test_the_owner_may_end_all_sessions(
    client: OAuthClient, owned: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the play does after a change of the password, if asked to."""
    tokens = await client.tokens()
    code = await client.code()
    assert main(["revoke", "--state-dir", str(owned.state_dir)]) == 0
    assert "1 clients" in capsys.readouterr().out
    assert (await client.call(tokens["access_token"])).status_code == 401
    for refused in (await client.refresh(tokens["refresh_token"]), await client.exchange(code)):
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_grant")
    assert await client.tokens()


async def test_discovery_names_this_origin(client: OAuthClient) -> None:
    refused = await client.call(None)
    assert refused.status_code == 401
    challenge = refused.headers["www-authenticate"]
    [described] = re.findall(r'resource_metadata="([^"]+)"', challenge)
    assert described == f"{ORIGIN}/.well-known/oauth-protected-resource/mcp"
    for address in (described, "/.well-known/oauth-protected-resource"):
        resource = (await client.http.get(address)).json()
        assert resource["resource"] == f"{ORIGIN}/mcp"
        assert resource["authorization_servers"] == [ORIGIN]
    for name in ("oauth-authorization-server", "openid-configuration"):
        server = (await client.http.get(f"/.well-known/{name}")).json()
        assert server["issuer"] == ORIGIN
        assert server["authorization_endpoint"] == f"{ORIGIN}/authorize"
        assert server["code_challenge_methods_supported"] == ["S256"]
        assert "none" in server["token_endpoint_auth_methods_supported"]
        assert server["authorization_response_iss_parameter_supported"] is True
        assert server["client_id_metadata_document_supported"] is False


async def test_the_page_says_who_asks_and_runs_nothing(client: OAuthClient) -> None:
    await client.register()
    page = await client.http.get((await client.authorize()).headers["location"])
    assert "A &lt;b&gt;client&lt;/b&gt;" in page.text
    assert "127.0.0.1:4321" in page.text
    assert "<script" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self';" in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["referrer-policy"] == "same-origin"
    assert 'name="referrer"' not in page.text
    assert page.headers["cache-control"] == "no-store"
    cookie = page.headers["set-cookie"]
    for part in ("__Host-", "HttpOnly", "Secure", "SameSite=strict", "Path=/"):
        assert part in cookie


async def test_the_owner_may_say_no(client: OAuthClient) -> None:
    await client.register()
    answer = query_of(await client.decide(await client.form() | {"decision": "deny"}, ""))
    assert answer["error"] == "access_denied"
    assert (answer["state"], answer["iss"]) == (client.state, ORIGIN)
    assert "code" not in answer


# Attacks: what is tried, and what comes of it.


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example/callback",
        "http://localhost.evil.example/callback",
        "http://127.0.0.1@evil.example/callback",
        "http://evil.example@127.0.0.1/callback",
        "http://127.0.0.1.evil.example/callback",
        "http://127.1.evil.example",
        "https://chatgpt.com.evil.example/connector_platform_oauth_redirect",
        "https://chatgpt.com/connector/oauth/../../evil",
        "https://chatgpt.com/other",
        "https://claude.ai/api/mcp/auth_callback/more",
        "http://192.0.2.1/callback",
        "https://localhost/callback",
        "javascript:alert(1)",
        "data:text/html,x",
        "cursor://evil/oauth/callback",
        "http://localhost:80/#fragment",
    ],
)
async def test_a_foreign_callback_is_not_registered(client: OAuthClient, uri: str) -> None:
    for uris in ([uri], [CALLBACK, uri]):
        answer = await client.register(redirect_uris=uris)
        assert answer.status_code == 400
        assert answer.json()["error"] in {"invalid_redirect_uri", "invalid_client_metadata"}


@pytest.mark.parametrize(
    "uri",
    [
        "https://chatgpt.com/connector_platform_oauth_redirect",
        "https://chatgpt.com/connector/oauth/abc_DEF-123",
        "https://claude.ai/api/mcp/auth_callback",
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "https://vscode.dev/redirect",
        "http://localhost:33418/",
        "http://127.0.0.1:65535/a/b?c=d",
        "http://[::1]:8080/callback",
    ],
)
async def test_a_known_callback_is_let_back(client: OAuthClient, uri: str) -> None:
    client.callback = uri
    tokens = await client.tokens()
    assert (await client.call(tokens["access_token"])).status_code == 200


async def test_the_owner_may_add_callbacks(owned: Settings, run: Run, client: OAuthClient) -> None:
    mine = "https://me.example/callback"
    added = owned.model_copy(update={"redirect_uris": (mine,)})
    async with run(create_app(added)) as http:
        http.base_url = httpx2.URL(ORIGIN)
        allowed = OAuthClient(http, callback=mine)
        tokens = await allowed.tokens()
        assert (await allowed.call(tokens["access_token"])).status_code == 200
        for other in (f"{mine}/more", "https://me.example/", "https://evil.example/callback"):
            assert (await OAuthClient(http, callback=other).register()).status_code == 400
        assert (await OAuthClient(http).register()).status_code == 201
    # And take them back, from clients too that have registered before.
    client.callback, client.client_id = mine, allowed.client_id
    assert (await client.authorize()).status_code == 400
    assert (await client.refresh(tokens["refresh_token"])).status_code == 401


async def test_a_program_may_come_back_on_another_port(client: OAuthClient) -> None:
    await client.register()
    client.callback = CALLBACK.replace("4321", "1234")
    assert (await client.exchange(await client.code())).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": CALLBACK.replace("127.0.0.1", "localhost")},
        {"redirect_uri": CALLBACK.replace("callback", "other")},
        {"redirect_uri": f"{CALLBACK}?x=1"},
        {"redirect_uri": f"{CALLBACK}/../other"},
        {"client_id": "unknown"},
        {"client_id": "https://client.example/metadata.json"},
    ],
)
async def test_nobody_is_sent_to_an_address_that_is_not_registered(
    client: OAuthClient, changes: dict[str, str]
) -> None:
    await client.register()
    answer = await client.authorize(**changes)
    assert answer.status_code == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"resource": "https://other.example/mcp"}, "invalid_target"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
    ],
)
async def test_a_wrong_request_goes_back_as_an_error(
    client: OAuthClient, changes: dict[str, str | None], error: str
) -> None:
    await client.register()
    answer = await client.authorize(**changes)
    assert answer.headers["location"].startswith(f"{CALLBACK}?")
    told = query_of(answer)
    assert told["error"] == error
    assert (told["state"], told["iss"]) == (client.state, ORIGIN)


async def test_an_issuer_in_the_callback_gives_way(client: OAuthClient) -> None:
    client.callback = f"{CALLBACK}?iss=https://evil.example"
    await client.register()
    allowed = await client.decide(await client.form())
    for answer in (allowed, await client.authorize(code_challenge=None)):
        assert parse_qs(urlsplit(leads_to(answer)).query)["iss"] == [ORIGIN]


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"code_verifier": "x" * 64}, 401, "invalid_grant"),
        ({"code_verifier": None}, 400, "invalid_request"),
        ({"redirect_uri": "http://127.0.0.1:4321/other"}, 400, "invalid_request"),
        ({"redirect_uri": None}, 400, "invalid_request"),
        ({"client_id": "unknown"}, 401, "invalid_client"),
        ({"resource": "https://other.example/mcp"}, 400, "invalid_target"),
    ],
)
async def test_a_code_is_good_for_the_one_who_asked_only(
    client: OAuthClient, changes: dict[str, str | None], status: int, error: str
) -> None:
    await client.register()
    answer = await client.exchange(await client.code(), **changes)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert "access_token" not in answer.json()


async def test_a_code_of_another_client_is_worth_nothing(client: OAuthClient) -> None:
    await client.register()
    code = await client.code()
    thief = OAuthClient(client.http, verifier=client.verifier)
    await thief.register()
    assert (await thief.exchange(code)).status_code == 401
    assert (await client.exchange(code)).status_code == 200


async def test_a_code_that_comes_again_ends_what_came_of_it(client: OAuthClient) -> None:
    await client.register()
    code = await client.code()
    tokens = (await client.exchange(code)).json()
    assert (await client.call(tokens["access_token"])).status_code == 200
    assert (await client.exchange(code)).status_code == 401
    assert (await client.call(tokens["access_token"])).status_code == 401
    assert (await client.refresh(tokens["refresh_token"])).status_code == 401


async def test_a_refresh_token_that_comes_again_ends_its_family(client: OAuthClient) -> None:
    tokens = await client.tokens()
    fresh = (await client.refresh(tokens["refresh_token"])).json()
    assert (await client.refresh(tokens["refresh_token"])).status_code == 401
    assert (await client.call(fresh["access_token"])).status_code == 401
    assert (await client.refresh(fresh["refresh_token"])).status_code == 401


async def test_a_refresh_token_of_another_client_is_worth_nothing(client: OAuthClient) -> None:
    tokens = await client.tokens()
    thief = OAuthClient(client.http)
    await thief.register()
    assert (await thief.refresh(tokens["refresh_token"])).status_code == 401
    assert (await client.refresh(tokens["refresh_token"])).status_code == 200


async def test_a_refresh_token_is_for_this_server(client: OAuthClient) -> None:
    token = (await client.tokens())["refresh_token"]
    answer = await client.refresh(token, resource="https://other.example/mcp")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_target")
    assert (await client.refresh(token, resource=f"{ORIGIN}/mcp")).status_code == 200


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize(
    ("what", "seconds"), [("code", 60), ("access_token", 3600), ("refresh_token", 60 * 24 * 3600)]
)
async def test_what_is_over_is_over(
    client: OAuthClient, monkeypatch: pytest.MonkeyPatch, what: str, seconds: int, *, over: bool
) -> None:
    tokens = await client.tokens()
    assert tokens["expires_in"] == 3600
    code = await client.code()
    later = time.time() + seconds + (5 if over else -5)
    monkeypatch.setattr(time, "time", lambda: later)
    if what == "code":
        answer = await client.exchange(code)
    elif what == "access_token":
        answer = await client.call(tokens[what])
    else:
        answer = await client.refresh(tokens[what])
    assert answer.status_code == (401 if over else 200)


@pytest.mark.parametrize("where", ["query", "cookie", "body", "refresh as access", "other scheme"])
async def test_a_token_counts_in_its_header_only(client: OAuthClient, where: str) -> None:
    tokens = await client.tokens()
    token = tokens["access_token"]
    if where == "query":
        answer = await client.call(None, f"/mcp?access_token={token}")
    elif where == "cookie":
        client.http.cookies.set("access_token", token)
        answer = await client.call(None)
    elif where == "body":
        answer = await client.http.post("/mcp", data={"access_token": token})
    elif where == "refresh as access":
        answer = await client.call(tokens["refresh_token"])
    else:
        headers = {"Authorization": f"Basic {token}"}
        answer = await client.http.post("/mcp", json={}, headers=headers)
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("attack", "status", "refusal"),
    [
        ("no cookie", 400, "This request is over"),
        ("other cookie", 400, "This request is over"),
        ("other proof", 400, "This request is over"),
        ("other request", 400, "This request is over"),
        ("foreign", 403, "Forbidden Origin"),
        ("null", 403, "Forbidden Origin"),
        ("old", 400, "This request is over"),
    ],
)
async def test_only_the_browser_that_was_asked_can_answer(
    client: OAuthClient, monkeypatch: pytest.MonkeyPatch, attack: str, status: int, refusal: str
) -> None:
    await client.register()
    form = await client.form()
    other = await client.form() if attack == "other request" else {}
    headers = {"Origin": ORIGIN}
    match attack:
        case "no cookie":
            client.http.cookies.clear()
        case "other cookie":
            client.http.cookies.clear()
            client.http.cookies.set("__Host-codeintel-consent", "x" * 32, domain="mcp.example.com")
        case "other proof":
            form["proof"] = "0" * 64
        case "other request":
            form["request"] = other["request"]
        case "foreign":
            headers = {"Origin": "https://evil.example"}
        case "null":
            headers = {"Origin": "null"}
        case "old":
            later = time.time() + consent.SECONDS_TO_DECIDE + 1
            [cookie] = client.http.cookies.jar
            cookie.expires = None  # the browser would have dropped it
            monkeypatch.setattr(time, "time", lambda: later)
    answer = await client.http.post("/consent", data=form | {"password": PASSWORD}, headers=headers)
    assert answer.status_code == status
    assert refusal in answer.text
    assert "code=" not in answer.text


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/authorize", "client_id"),
        ("/authorize", "state"),
        ("/token", "client_id"),
        ("/token", "code"),
        ("/token", "code_verifier"),
        ("/revoke", "token"),
        ("/consent", "request"),
        ("/consent", "proof"),
        ("/consent", "password"),
    ],
)
async def test_half_a_character_is_the_fault_of_the_client(
    client: OAuthClient, path: str, name: str
) -> None:
    """Parts of a form may choose a charset, in which good bytes are text that has no bytes."""
    await client.register()
    form = await client.form() | {
        "client_id": client.client_id,
        "grant_type": "authorization_code",
        "redirect_uri": CALLBACK,
        "response_type": "code",
        "code_challenge": "x",
        "code": await client.code(),
        "code_verifier": client.verifier,
        name: "+2AA-",
    }
    parts = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in form.items()
    )
    headers = {"Origin": ORIGIN, "Content-Type": "Multipart/Form-Data; boundary=x; charset=utf-7"}
    answer = await client.http.post(path, content=f"{parts}--x--\r\n", headers=headers)
    assert answer.status_code == 415


async def test_a_request_that_was_not_sealed_here_is_none(client: OAuthClient) -> None:
    await client.register()
    sealed = (await client.authorize()).headers["location"].partition("request=")[2]
    assert (await client.http.get("/consent", params={"request": sealed})).status_code == 200
    changed = sealed[:60] + ("A" if sealed[60] != "A" else "B") + sealed[61:]
    asked = consent.ConsentRequest(
        client_id=client.client_id,
        name="",
        redirect_uri=CALLBACK,
        explicit=True,
        scopes=[],
        challenge="",
    )
    plain = asked.model_dump_json().encode()
    bare = base64.urlsafe_b64encode(plain).decode()
    other = Fernet(Fernet.generate_key()).encrypt(plain).decode()
    for wrong in ("", ".", "x", bare, other, changed, sealed[:-2], f"é{sealed}"):
        assert (await client.http.get("/consent", params={"request": wrong})).status_code == 400


async def test_guesses_are_few_from_one_address_and_others_go_on(client: OAuthClient) -> None:
    await client.register()
    form = await client.form()
    statuses = [(await client.decide(form, f"wrong {n}")).status_code for n in range(10)]
    assert set(statuses) == {403}
    refused = await client.decide(form)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 1
    elsewhere = at(client, "192.0.2.7")
    assert await elsewhere.code()


@pytest.mark.parametrize(
    "network", ["2001:db8:0:{:x}::1", "198.51.100.{}"], ids=["IPv6 /48", "IPv4 /24"]
)
async def test_guesses_from_one_network_leave_others_their_turn(
    client: OAuthClient, network: str
) -> None:
    await client.register()
    guessers = [at(client, network.format(n)) for n in range(2 * consent.MAX_WAITING)]
    forms = [await guesser.form() for guesser in guessers]
    owner = at(client, "203.0.113.1")
    form = await owner.form()
    guesses = [
        asyncio.create_task(guesser.decide(form, "wrong"))
        for guesser, form in zip(guessers, forms, strict=True)
    ]
    await asyncio.sleep(0)  # they come first
    assert (await owner.decide(form)).status_code == 200
    statuses = [guess.status_code for guess in await asyncio.gather(*guesses)]
    assert statuses.count(403) == consent.MAX_NEIGHBOURS
    assert statuses.count(429) == len(guesses) - consent.MAX_NEIGHBOURS


async def test_who_did_not_get_a_turn_has_not_tried(
    client: OAuthClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.register()
    form = await client.form()
    with monkeypatch.context() as full:
        full.setattr(consent, "MAX_WAITING", 0)
        statuses = {(await client.decide(form)).status_code for _ in range(11)}
    assert statuses == {429}
    assert (await client.decide(form)).status_code == 200


async def test_strangers_cannot_fill_the_store(
    client: OAuthClient, owned: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codeintel.auth.store.MAX_STRANGERS", 3)
    tokens = await client.tokens()
    store = AuthStore(owned.state_dir)
    for _ in range(6):
        await OAuthClient(client.http).register()
    AuthStore(owned.state_dir).sweep()
    [count] = store.database.execute("SELECT count(*) FROM clients").fetchone()
    assert count == 1 + 3
    assert (await client.refresh(tokens["refresh_token"])).status_code == 200
    assert (await client.register(client_name="x" * 3000)).status_code == 201
    assert (await client.authorize()).headers["location"].startswith(f"{ORIGIN}/consent?")
    too_long = query_of(await client.authorize(state="x" * 4000))
    assert (too_long["error"], too_long["error_description"]) == (
        "invalid_request",
        "the request is too long",
    )
    assert (await client.register(client_name="x" * 5000)).status_code == 400
    assert (await client.register(redirect_uris=[CALLBACK] * 11)).status_code == 400


async def test_a_flood_of_registrations_harms_nobody_elsewhere(
    client: OAuthClient, owned: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codeintel.auth.store.MAX_STRANGERS", 20)
    owner = at(client, "203.0.113.1")
    await owner.register()
    for n in range(10):
        stranger = at(client, f"198.51.{n}.1")
        for _ in range(1 + 20 * (n == 0)):
            await stranger.register()
    store = AuthStore(owned.state_dir)
    store.sweep()
    [count] = store.database.execute("SELECT count(*) FROM clients").fetchone()
    assert count == 20
    assert (await owner.exchange(await owner.code())).status_code == 200


@pytest.mark.parametrize("method", ["none", "client_secret_post"])
async def test_a_client_that_is_crowded_out_while_the_owner_thinks_gets_in(
    client: OAuthClient, owned: Settings, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr("codeintel.auth.store.MAX_STRANGERS", 3)
    secret = (await client.register(token_endpoint_auth_method=method)).json().get("client_secret")
    form = await client.form()
    for _ in range(4):
        await OAuthClient(client.http).register()
    AuthStore(owned.state_dir).sweep()
    assert (await client.authorize()).status_code == 400
    answer = query_of(await client.decide(form))
    tokens = await client.exchange(answer["code"], client_secret=secret)
    assert tokens.status_code == 200
    AuthStore(owned.state_dir).sweep()
    assert (await client.authorize()).status_code == 302
    # The browser, and the logs of what it asks for, learn no secret.
    assert secret is None or secret.encode() not in base64.urlsafe_b64decode(form["request"])


def test_a_store_of_an_older_release_goes_on(tmp_path: Path) -> None:
    AuthStore(tmp_path).database.execute("ALTER TABLE clients DROP COLUMN network")
    for _ in range(2):
        assert AuthStore(tmp_path).database.execute("SELECT network FROM clients").fetchall() == []


async def test_hashing_does_not_hold_up_others(
    client: OAuthClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.register()
    form = await client.form()
    monkeypatch.setattr(consent, "MAX_NEIGHBOURS", 4)
    deciding = [asyncio.create_task(client.decide(form, "wrong")) for _ in range(4)]
    began = time.perf_counter()
    answered = 0
    while not all(task.done() for task in deciding):
        await asyncio.sleep(0)  # a request in process never waits
        assert (await client.http.get("/api/livez")).status_code == 200
        answered += 1
    assert answered > 10 * (time.perf_counter() - began)


# Tokens with a name.


async def test_a_named_token_lets_in_until_it_is_revoked(
    client: OAuthClient, owned: Settings
) -> None:
    store = AuthStore(owned.state_dir)
    token = add_token(store, "script", None)
    assert (await client.call(token)).status_code == 200
    [kept] = store.database.execute("SELECT used FROM named_tokens").fetchone()
    assert abs(kept - time.time()) < 5
    assert (await client.call(f"{token}x")).status_code == 401
    revoke_token(store, "script")
    assert (await client.call(token)).status_code == 401


async def test_a_named_token_ends_by_itself(client: OAuthClient, owned: Settings) -> None:
    token = add_token(AuthStore(owned.state_dir), "short", -1)
    assert (await client.call(token)).status_code == 401
    headers = {"Authorization": f"Bearer {token}"}
    assert (await client.http.get("/api/capz", headers=headers)).status_code == 401


async def test_a_named_token_lets_in_when_its_use_cannot_be_noted(owned: Settings) -> None:
    store = AuthStore(owned.state_dir)
    token = add_token(store, "script", None)
    store.database.execute("PRAGMA query_only = ON")  # as a full disk would
    found = await NamedTokens(store, ORIGIN).verify_token(token)
    assert found is not None
    assert found.client_id == "script"


async def test_tokens_alone(owned: Settings, run: Run) -> None:
    settings = owned.model_copy(update={"auth": "tokens", "owner_password": SecretStr("")})
    token = add_token(AuthStore(owned.state_dir), "script", 60)
    async with run(create_app(settings)) as http:
        http.base_url = httpx2.URL(ORIGIN)
        client = OAuthClient(http)
        assert (await client.call(token)).status_code == 200
        assert (await client.call(None)).status_code == 401
        assert (await http.get("/authorize")).status_code == 404


@pytest.mark.parametrize("path", ["/api/capz", "/api/metrics"])
async def test_what_tells_something_needs_a_token_from_outside(
    client: OAuthClient, owned: Settings, path: str
) -> None:
    token = add_token(AuthStore(owned.state_dir), "monitor", None)
    assert (await client.http.get(path)).status_code == 401
    wrong = {"Authorization": "Bearer wrong"}
    assert (await client.http.get(path, headers=wrong)).status_code == 401
    right = {"Authorization": f"Bearer {token}"}
    assert (await client.http.get(path, headers=right)).status_code == 200
    for open_path in ("/", "/api/livez"):
        assert (await client.http.get(open_path)).status_code == 200


# What does not start.


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"auth": "none"}, "everybody"),
        ({"owner_password": SecretStr("")}, "codeintel password"),
        ({"owner_password": SecretStr("in clear")}, "no hash"),
        ({"owner_password": SecretStr("scrypt:99999999:8:1:AAAA:AAAA")}, "no hash"),
        ({"state_dir": Path("/proc/nothing")}, "CODEINTEL_STATE_DIR"),
    ],
)
def test_an_open_or_broken_door_stops_the_start(
    owned: Settings, changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(CodeintelError, match=reason) as refused:
        create_app(owned.model_copy(update=changes))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://localhost:8000", "http://127.0.0.1:1", "http://[::1]:1"])
def test_nobody_needs_a_password_on_loopback(owned: Settings, url: str) -> None:
    assert build_auth(owned.model_copy(update={"auth": "none", "public_url": url})) is None


def test_two_processes_share_the_store(owned: Settings) -> None:
    first, second = AuthStore(owned.state_dir), AuthStore(owned.state_dir)
    add_token(first, "a", None)
    with pytest.raises(CodeintelError, match="already"):
        add_token(second, "a", None)
    with second.transaction() as database, pytest.raises(sqlite3.IntegrityError):
        database.execute("INSERT INTO named_tokens (name) VALUES ('b')")
    assert (owned.state_dir / FILE).stat().st_mode & 0o077 == 0
