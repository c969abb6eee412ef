"""The mode `oidc`, from end to end against a provider that is not ours."""

import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import anyio
import httpx2
import pytest
from codeintel.auth import oidc
from codeintel.cli import main
from codeintel.settings import Settings
from key_value.aio.stores.memory import MemoryStore
from oidc_lab import (
    SECRET,
    Browser,
    call_tool,
    free_port,
    provider,
    serving,
    status_with,
    tokens_of,
)
from pydantic import SecretStr

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:Using in-memory token storage"),
]

Edge = Callable[..., Settings]

ALICE = "alice@example.com"
ELSEWHERE = "http://127.0.0.1:9/callback"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.fixture
def edge(index: Callable[..., object], index_dir: Path, tmp_path: Path) -> Edge:
    """Make the settings of one place, which is there again after a restart."""
    index({"a.py": "needle\n"}, "main")
    public_url = f"http://127.0.0.1:{free_port()}"

    def settings(issuer: str = "", *allowed: str, secret: str = SECRET) -> Settings:
        return Settings(
            auth="oidc",
            public_url=public_url,
            index_dir=index_dir,
            state_dir=tmp_path / "state",
            oidc_issuer=issuer,
            oidc_client_id="edge",
            oidc_client_secret=SecretStr(secret),
            oidc_allowed=allowed,
        )

    return settings


def callback(edge: Edge) -> str:
    return f"{edge().public_url}/auth/callback"


async def register(url: str, uri: str, address: str = "127.0.0.1") -> httpx2.Response:
    transport = httpx2.AsyncHTTPTransport(local_address=address)
    async with httpx2.AsyncClient(transport=transport) as client:
        about = {"redirect_uris": [uri], "token_endpoint_auth_method": "none"}
        return await client.post(url.replace("/mcp", "/register"), json=about)


def begin(url: str, client_id: str, uri: str = ELSEWHERE, **more: str) -> str:
    """Return where a client sends a browser."""
    query = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": uri,
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return f"{url.replace('/mcp', '/authorize')}?{urlencode(query | more)}"


async def ending(url: str, browser: Browser) -> dict[str, str]:
    """Return what a client is told at the end of a flow."""
    client_id = (await register(url, ELSEWHERE)).json()["client_id"]
    last = await browser.visit(begin(url, client_id, state="mine"), until=ELSEWHERE)
    address = last.headers.get("location") or last.headers["refresh"].partition("url=")[2]
    query = parse_qs(urlsplit(address).query)
    return {name: value for name, [value] in query.items()}


async def post(url: str, path: str, **form: str) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=30) as client:
        return await client.post(url.replace("/mcp", path), data=form)


async def refresh(url: str, tokens: dict[str, str], **more: str) -> httpx2.Response:
    return await post(
        url,
        "/token",
        grant_type="refresh_token",
        refresh_token=tokens["refresh_token"],
        client_id=tokens["client_id"],
        **more,
    )


@pytest.mark.parametrize("claims_in_token", [True, False])
@pytest.mark.parametrize("entry", ["alice", "Alice@Example.com"])
async def test_who_is_on_the_list_calls_tools(
    edge: Edge, entry: str, claims_in_token: bool
) -> None:
    with provider(callback(edge), claims_in_token=claims_in_token) as (issuer, _):
        async with serving(edge(issuer, "somebody", entry)) as url:
            browser = Browser("alice")
            assert "needle" in await call_tool(url, browser, MemoryStore())
    # The page of this server that says which client asks loads nothing and cannot be framed.
    [consent] = [page for page in browser.pages if "csrf_token" in page.text]
    assert "FastMCP Client" in consent.text
    policy = consent.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert consent.headers["referrer-policy"] == "same-origin"


@pytest.mark.parametrize("person", ["mallory", "forger", ALICE])
async def test_others_are_refused_with_a_plain_message(edge: Edge, person: str) -> None:
    """Another, one whose address is not verified, one who has chosen the address as a name."""
    with provider(callback(edge)) as (issuer, _):
        async with serving(edge(issuer, ALICE)) as url:
            browser = Browser(person)
            told = await ending(url, browser)
            assert told["error"] == "access_denied"
            assert told["error_description"].endswith(" may not use this server")
            assert told["state"] == "mine"
            assert told["iss"] == edge().public_url
            assert browser.pages[-1].status_code == 403
            assert " may not use this server" in browser.pages[-1].text
            assert "frame-ancestors 'none'" in browser.pages[-1].headers["content-security-policy"]
            with pytest.raises(RuntimeError, match="denied"):
                await call_tool(url, Browser(person), MemoryStore())


async def test_who_is_taken_off_the_list_is_out(edge: Edge) -> None:
    storage = MemoryStore()
    with provider(callback(edge)) as (issuer, _):
        async with serving(edge(issuer, "alice", "mallory")) as url:
            await call_tool(url, Browser("alice"), storage)
            tokens = await tokens_of(storage, url)
            assert await status_with(url, tokens["access_token"]) == 200
        async with serving(edge(issuer, "mallory")) as url:
            assert await status_with(url, tokens["access_token"]) == 401
            answer = await refresh(url, tokens)
            assert answer.status_code == 401
            assert answer.json()["error"] == "invalid_grant"


async def test_a_restart_keeps_sessions_also_without_the_provider(edge: Edge) -> None:
    storage = MemoryStore()
    with provider(callback(edge)) as (issuer, process):
        async with serving(edge(issuer, ALICE)) as url:
            await call_tool(url, Browser("alice"), storage)
        async with serving(edge(issuer, ALICE)) as url:
            assert "needle" in await call_tool(url, None, storage)
            answer = await refresh(url, tokens := await tokens_of(storage, url))
            assert answer.status_code == 200
            assert answer.json()["refresh_token"] != tokens["refresh_token"]
            assert (await refresh(url, tokens)).status_code == 401  # it was spent
        process.kill()
        process.wait()
        async with serving(edge(issuer, ALICE)) as url:
            assert await status_with(url, answer.json()["access_token"]) == 200
            answer = await refresh(url, {**tokens, **answer.json()})
            assert answer.status_code == 503  # and not one that ends the session


async def test_sessions_are_renewed_at_the_provider(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = MemoryStore()
    monkeypatch.setattr(oidc, "RETRY_SECONDS", 1)
    monkeypatch.setattr(oidc, "VERIFIED_SECONDS", 0)
    with provider(callback(edge), seconds=2) as (issuer, process):
        async with serving(edge(issuer, ALICE)) as url:
            await call_tool(url, Browser("alice"), storage)
            token = (await tokens_of(storage, url))["access_token"]
            await anyio.sleep(2.1)
            assert await status_with(url, token) == 200
            await anyio.sleep(2.1)
            process.kill()
            process.wait()
            assert await status_with(url, token) == 200
            monkeypatch.setattr(oidc, "GRACE_SECONDS", 0)
            assert await status_with(url, token) == 401
            monkeypatch.setattr(oidc, "GRACE_SECONDS", 3600)
            assert await status_with(url, token) == 200


async def test_a_session_that_the_provider_has_ended_is_over(edge: Edge) -> None:
    storage = MemoryStore()
    port = free_port()
    with provider(callback(edge), port=port, seconds=2) as (issuer, _):
        async with serving(edge(issuer, ALICE)) as url:
            await call_tool(url, Browser("alice"), storage)
            token = (await tokens_of(storage, url))["access_token"]
    with provider(callback(edge), port=port) as (issuer, _):  # this one knows of no session
        async with serving(edge(issuer, ALICE)) as url:
            await anyio.sleep(2)
            assert await status_with(url, token) == 401


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
async def test_revocation_ends_both_tokens(edge: Edge, kind: str) -> None:
    storage = MemoryStore()
    with provider(callback(edge)) as (issuer, _):
        async with serving(edge(issuer, ALICE)) as url:
            await call_tool(url, Browser("alice"), storage)
            tokens = await tokens_of(storage, url)
            assert await status_with(url, tokens["access_token"]) == 200
            answer = await post(url, "/revoke", token=tokens[kind], client_id=tokens["client_id"])
            assert answer.status_code == 200
            assert await status_with(url, tokens["access_token"]) == 401
            assert (await refresh(url, tokens)).status_code == 401


async def test_all_sessions_can_be_ended(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc, "VERIFIED_SECONDS", 1)
    storage = MemoryStore()
    with provider(callback(edge)) as (issuer, _):
        async with serving(edge(issuer, ALICE)) as url:
            await call_tool(url, Browser("alice"), storage)
            token = (await tokens_of(storage, url))["access_token"]
            assert main(["revoke", "--state-dir", str(edge().state_dir)]) == 0
            await anyio.sleep(1)
            assert await status_with(url, token) == 401
            assert "needle" in await call_tool(url, Browser("alice"), storage)


async def test_what_is_stored_is_sealed(edge: Edge) -> None:
    storage = MemoryStore()
    with provider(callback(edge)) as (issuer, _):
        async with serving(edge(issuer, ALICE)) as url:
            await call_tool(url, Browser("alice"), storage)
    folder = edge().state_dir / "oidc"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        content = file.read_text()
        assert "access_token" not in content
        assert "alice" not in content
        assert SECRET not in content


async def test_a_wrong_secret_is_told(edge: Edge) -> None:
    with provider(callback(edge)) as (issuer, _):
        async with serving(edge(issuer, ALICE, secret="another")) as url:
            told = await ending(url, Browser("alice"))
    assert told["error"] == "server_error"
    assert "CODEINTEL_OIDC_CLIENT_SECRET" in told["error_description"]
    assert "invalid_client" in told["error_description"]


async def test_a_person_can_decline(edge: Edge) -> None:
    with provider(callback(edge)) as (issuer, _):
        async with serving(edge(issuer, ALICE)) as url:
            browser = Browser("alice", answer="deny")
            assert (await ending(url, browser))["error"] == "access_denied"
    assert all(page.url.port == urlsplit(url).port for page in browser.pages)


@pytest.mark.parametrize("policy", ["same-origin", "no-referrer"])
async def test_a_browser_must_say_where_the_form_is_from(edge: Edge, policy: str) -> None:
    """The guard believes nobody else, so that an edge must not forbid it to."""
    with provider(callback(edge)) as (issuer, _):
        async with serving(edge(issuer, ALICE), policy) as url:
            client_id = (await register(url, ELSEWHERE)).json()["client_id"]
            last = await Browser("alice").visit(begin(url, client_id), until=ELSEWHERE)
    if policy == "no-referrer":
        assert last.status_code == 403
        assert last.request.headers["origin"] == "null"
    else:
        assert "code=" in last.headers["location"]


async def test_another_browser_cannot_end_the_flow(edge: Edge) -> None:
    with provider(callback(edge)) as (issuer, _):
        async with serving(edge(issuer, ALICE)) as url:
            client_id = (await register(url, ELSEWHERE)).json()["client_id"]
            address = begin(url, client_id)
            stopped = await Browser("alice").visit(address, until=callback(edge))
            taken = await Browser("mallory").visit(stopped.headers["location"])
            assert taken.status_code == 403
            assert "session mismatch" in taken.text
            assert "frame-ancestors 'none'" in taken.headers["content-security-policy"]


@pytest.mark.parametrize(
    "uri",
    [
        "http://localhost.evil.example/callback",
        "http://127.0.0.1@evil.example/callback",
        "http://127.0.0.1:80@evil.example/callback",
        "http://127.0.0.1.evil.example/callback",
        "http://evil.example/#@127.0.0.1/",
        "https://evil.example/callback",
        "https://chatgpt.com/connector_platform_oauth_redirect/../../evil",
        "https://claude.ai.evil.example/api/mcp/auth_callback",
        "javascript:alert(1)",
    ],
)
async def test_look_alikes_cannot_register(edge: Edge, uri: str) -> None:
    with provider(callback(edge)) as (issuer, _):
        async with serving(edge(issuer, ALICE)) as url:
            answer = await register(url, uri)
            assert answer.status_code == 400
            assert "invalid" in answer.json()["error"]


async def test_codes_go_where_the_client_has_said_only(edge: Edge) -> None:
    with provider(callback(edge)) as (issuer, _):
        async with serving(edge(issuer, ALICE)) as url:
            known = "https://claude.ai/api/mcp/auth_callback"
            client_id = (await register(url, known)).json()["client_id"]
            async with httpx2.AsyncClient() as client:
                assert (await client.get(begin(url, client_id, known))).status_code == 302
                for other in (ELSEWHERE, "https://claude.com/api/mcp/auth_callback"):
                    assert (await client.get(begin(url, client_id, other))).status_code == 400
                # What the provider calls this server is no client of this server.
                assert (await client.get(begin(url, "edge", ELSEWHERE))).status_code == 400


async def test_a_client_registered_when_the_list_was_longer_is_refused(edge: Edge) -> None:
    mine = "https://me.example/callback"
    with provider(callback(edge)) as (issuer, _):
        longer = edge(issuer, ALICE).model_copy(update={"redirect_uris": (mine,)})
        async with serving(longer) as url, httpx2.AsyncClient() as client:
            client_id = (await register(url, mine)).json()["client_id"]
            assert (await client.get(begin(url, client_id, mine))).status_code == 302
        async with serving(edge(issuer, ALICE)) as url, httpx2.AsyncClient() as client:
            assert (await client.get(begin(url, client_id, mine))).status_code == 400


async def test_a_document_that_cannot_be_had_is_the_clients_fault(edge: Edge) -> None:
    with provider(callback(edge)) as (issuer, _):
        settings = edge(issuer, ALICE).model_copy(update={"client_documents": True})
        async with serving(settings) as url, httpx2.AsyncClient() as client:
            name = "https://client.example:99999/metadata.json"
            assert (await client.get(begin(url, name))).status_code == 400
            # Who had it once does not lose a session for that.
            answer = await refresh(url, {"client_id": name, "refresh_token": "x"})
            assert answer.status_code == 503


async def test_strangers_give_way(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc, "MAX_STRANGERS", 2)
    storage = MemoryStore()
    with provider(callback(edge)) as (issuer, _):
        async with serving(edge(issuer, ALICE)) as url, httpx2.AsyncClient() as client:
            await call_tool(url, Browser("alice"), storage)
            ids = [(await register(url, ELSEWHERE)).json()["client_id"] for _ in range(3)]
            answers = [(await client.get(begin(url, name))).status_code for name in ids]
            assert answers == [400, 302, 302]
            # Who was let in stays.
            assert (await refresh(url, await tokens_of(storage, url))).status_code == 200


async def test_a_flood_of_registrations_harms_nobody_elsewhere(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "MAX_STRANGERS", 3)
    with provider(callback(edge)) as (issuer, _):
        async with serving(edge(issuer, ALICE)) as url:
            mine = (await register(url, ELSEWHERE)).json()["client_id"]
            for address in ["127.0.1.1"] * 4 + ["127.0.2.1"]:
                await register(url, ELSEWHERE, address)
            last = await Browser("alice").visit(begin(url, mine), until=ELSEWHERE)
            assert "code=" in last.headers["location"]


async def test_strangers_leave_little(edge: Edge) -> None:
    with provider(callback(edge)) as (issuer, _):
        async with serving(edge(issuer, ALICE)) as url:
            answer = await register(url, f"{ELSEWHERE}?{'x' * 4_000}")
            assert answer.status_code == 400
            client_id = (await register(url, ELSEWHERE)).json()["client_id"]
            form = parse_qs(urlsplit(begin(url, client_id, state="x" * 4_000)).query)
            answer = await post(
                url, "/authorize", **{name: value for name, [value] in form.items()}
            )
            assert "error=invalid_request" in answer.headers["location"]


async def test_tokens_with_a_name_work_beside(
    edge: Edge, capsys: pytest.CaptureFixture[str]
) -> None:
    with provider(callback(edge)) as (issuer, _):
        async with serving(edge(issuer, ALICE)) as url:
            main(["token", "add", "script", "--state-dir", str(edge().state_dir)])
            assert await status_with(url, capsys.readouterr().out.strip()) == 200


async def test_tokens_are_for_this_server(edge: Edge) -> None:
    storage = MemoryStore()
    with provider(callback(edge)) as (issuer, _):
        async with serving(edge(issuer, ALICE)) as url:
            await call_tool(url, Browser("alice"), storage)
            tokens = await tokens_of(storage, url)
            answer = await refresh(url, tokens, resource="https://other.example/mcp")
            assert answer.status_code == 400
            assert answer.json()["error"] == "invalid_target"
            assert (await refresh(url, tokens, resource=url)).status_code == 200


async def test_metadata_names_what_there_is(edge: Edge) -> None:
    with provider(callback(edge)) as (issuer, _):
        async with serving(edge(issuer, ALICE)) as url, httpx2.AsyncClient() as client:
            origin = edge().public_url
            answer = await client.get(f"{origin}/.well-known/oauth-authorization-server")
            metadata = answer.json()
            assert metadata["issuer"] == origin
            assert metadata["token_endpoint_auth_methods_supported"] == ["none"]
            assert metadata["revocation_endpoint"] == f"{origin}/revoke"
            assert metadata["code_challenge_methods_supported"] == ["S256"]
            assert "scopes_supported" not in metadata
            assert not metadata.get("client_id_metadata_document_supported")
            for alias, place in (
                ("openid-configuration", "oauth-authorization-server"),
                ("oauth-protected-resource", "oauth-protected-resource/mcp"),
            ):
                one = await client.get(f"{origin}/.well-known/{alias}")
                other = await client.get(f"{origin}/.well-known/{place}")
                assert one.json() == other.json()
            refusal = await client.post(url, json={})
            assert refusal.status_code == 401
            assert "resource_metadata=" in refusal.headers["www-authenticate"]
