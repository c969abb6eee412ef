"""The module against real servers: green where all is well, red for each harm."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.codeintel.mcp_edge.plugins.module_utils.checks_http import (
    check_certificate,
)
from ansible_collections.codeintel.mcp_edge.plugins.module_utils.endpoint import Endpoint
from ansible_collections.codeintel.mcp_edge.plugins.modules import endpoint_info

if TYPE_CHECKING:
    from pathlib import Path

    from ansible_collections.codeintel.mcp_edge.plugins.module_utils.checks import Check

    from ..authority import Authority  # noqa: TID252 - the tests are no package that is installed
    from .conftest import Site, Sites

# Both are faster than the default, as the tests wait for them.
STREAM = "/api/sse?interval=0.1&count=7"
BUFFERED = "/api/sse?interval=0.05&count=7"


def check(sites: Sites, site: Site, **arguments: object) -> dict[str, dict[str, Any]]:
    """Run the checks that the arguments ask for, and return them by name."""
    params = {name: spec.get("default") for name, spec in endpoint_info.ARGUMENTS.items()}
    params |= {
        "url": site.url,
        "address": "127.0.0.1",
        "ca_path": sites.ca_path,
        "sse_path": "",
        "mcp_path": "",
        "timeout": 10.0,
    }
    checks = asyncio.run(endpoint_info.run(params | arguments))
    return {each.name: each.as_dict() for each in checks}


def red(checks: dict[str, dict[str, Any]]) -> set[str]:
    """Return the names of the failed checks, each of which must say why."""
    failed = {name for name, facts in checks.items() if not facts["ok"]}
    assert all(checks[name]["message"].startswith("Expected ") for name in failed)
    return failed


def test_all_green(sites: Sites) -> None:
    checks = check(
        sites,
        sites.good,
        sse_path=STREAM,
        mcp_path="/mcp",
        mcp_tool="grep",
        mcp_arguments={"pattern": "main"},
    )
    assert not red(checks), [checks[name] for name in red(checks)]
    session_era = [f"mcp.2025-11-25.{p}" for p in ("h2", "h3")]
    stateless = [f"mcp.2026-07-28.{p}" for p in ("h2", "h3")]
    assert list(checks) == [
        "certificate",
        *(f"{p}.status" for p in ("h1", "h2", "h3")),
        "alt_svc",
        *(f"sse.{p}.{c}" for p in ("h1", "h2", "h3") for c in ("first_event", "spacing")),
        *(f"{p}.{c}" for p in session_era for c in ("initialize", "tools_list", "tools_call")),
        *(f"{p}.{c}" for p in stateless for c in ("server_discover", "tools_list", "tools_call")),
    ]
    assert checks["certificate"]["value"]["names"] == ["edge.test"]
    assert checks["certificate"]["value"]["issuer"] == "CN=tests-ca"
    assert checks["certificate"]["value"]["days_left"] == 29
    assert checks["h3.status"]["value"] == 200
    assert checks["alt_svc"]["value"] == f'h3=":{sites.good.port}"; ma=86400'
    assert checks["sse.h3.spacing"]["value"]["events"] == 7
    assert checks["sse.h3.spacing"]["value"]["p50"] == pytest.approx(0.1, abs=0.04)
    for generation, introduction in (
        ("2025-11-25", "initialize"),
        ("2026-07-28", "server_discover"),
    ):
        prefix = f"mcp.{generation}.h3"
        assert checks[f"{prefix}.{introduction}"]["value"] == {
            "server": "tests",
            "version": "1.2.3",
            "protocol": generation,
        }
        assert checks[f"{prefix}.tools_list"]["value"] == ["grep", "fail"]
        assert checks[f"{prefix}.tools_call"]["value"] == "app.py:1: main"


def test_ipv6(sites: Sites) -> None:
    checks = check(sites, sites.good_v6, address="::1")
    assert not red(checks), [checks[name] for name in red(checks)]


def test_parts_can_be_left_out(sites: Sites) -> None:
    checks = check(sites, sites.good, protocols=["h2"], mcp_path="/mcp", mcp_generations=[])
    assert list(checks) == ["certificate", "h2.status"]


def test_bearer_token(sites: Sites) -> None:
    arguments = {"health_path": "/api/whoami", "protocols": ["h1", "h2", "h3"]}
    statuses = {"h1.status", "h2.status", "h3.status"}
    assert red(check(sites, sites.good, **arguments)) == statuses
    assert not red(check(sites, sites.good, bearer_token="secret-of-the-tests", **arguments))


def test_wrong_ca(sites: Sites) -> None:
    checks = check(sites, sites.good, ca_path=sites.stranger_path)
    assert red(checks) == set(checks)
    assert checks["certificate"]["value"]["issuer"] == "CN=tests-ca"
    for name in ("certificate", "h1.status", "h2.status", "h3.status"):
        assert "unable to get local issuer certificate" in checks[name]["message"]


def test_expired_certificate(sites: Sites) -> None:
    checks = check(sites, sites.expired)
    assert red(checks) == set(checks)
    assert checks["certificate"]["value"]["days_left"] < 0
    assert "certificate has expired" in checks["certificate"]["message"]
    assert "no longer valid" in checks["h3.status"]["message"]


async def look(authority: Authority, pair: tuple[Path, Path]) -> Check:
    """Check the certificate of a server that has it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*pair)
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context
    )
    port = server.sockets[0].getsockname()[1]
    async with server:
        return await check_certificate(
            Endpoint(
                url=f"https://edge.test:{port}",
                address="127.0.0.1",
                ca_path=str(authority.path),
                timeout=10.0,
                bearer_token=None,
            )
        )


HOUR = 1 / 24
MINUTE = HOUR / 60


@pytest.mark.parametrize("lifetime", [1, 160 * HOUR, 45, 90, 398])
@pytest.mark.parametrize("margin", [-0.2, -MINUTE, MINUTE, 0.2])
def test_a_certificate_is_late_with_less_than_a_third_of_its_lifetime_left(
    authority: Authority, lifetime: float, margin: float
) -> None:
    left = lifetime / 3 + margin
    pair = authority.issue("edge.test", days=left, age=lifetime - left)
    check = asyncio.run(look(authority, pair))
    assert check.ok == (margin > 0), check.message
    assert check.value["issuer"] == "CN=tests-ca"


@pytest.mark.parametrize(
    ("lifetime", "left", "told"),
    [(90, 20, "20 days of 90 days"), (160 * HOUR, 12 * HOUR, "12 hours of 7 days")],
)
def test_a_late_certificate_is_told_with_what_to_do(
    authority: Authority, lifetime: float, left: float, told: str
) -> None:
    pair = authority.issue("edge.test", days=left, age=lifetime - left)
    check = asyncio.run(look(authority, pair))
    assert check.message == (
        "Expected a valid certificate for edge.test with a third of its lifetime left, saw "
        f"{check.value['serial']} by CN=tests-ca, with {told} left: it should have been renewed; "
        "on the host, see systemctl status certbot.timer and journalctl -u certbot."
    )


def test_certificate_for_another_name(sites: Sites) -> None:
    checks = check(sites, sites.other_name)
    assert red(checks) == set(checks)
    assert checks["certificate"]["value"]["names"] == ["other.test"]
    assert "Hostname mismatch" in checks["certificate"]["message"]
    assert "doesn't match" in checks["h3.status"]["message"]


def test_unhealthy(sites: Sites) -> None:
    checks = check(sites, sites.good, health_path="/api/broken")
    assert red(checks) == {"h1.status", "h2.status", "h3.status"}
    assert checks["h3.status"]["value"] == 503
    assert checks["h3.status"]["message"] == (
        "Expected status 200 from /api/broken over HTTP/3, saw status 503."
    )


def test_no_h3_and_no_alt_svc(sites: Sites) -> None:
    checks = check(sites, sites.without_h3, sse_path=STREAM, mcp_path="/mcp")
    refused = {name for name in checks if ".h3." in f".{name}"}
    assert red(checks) == {"alt_svc", *refused}
    assert len(refused) == 1 + 2 + 2 * 2
    assert "refused" in checks["h3.status"]["message"]
    assert "refused" in checks["mcp.2026-07-28.h3.server_discover"]["message"]
    assert "server_discover failed" in checks["mcp.2026-07-28.h3.tools_list"]["message"]
    assert checks["alt_svc"]["value"] is None
    assert "no such header" in checks["alt_svc"]["message"]


def test_alt_svc_to_a_dead_port(sites: Sites, dead_port: int) -> None:
    checks = check(sites, sites.dead_alt_svc, protocols=["h2", "h3"])
    assert checks["alt_svc"]["value"] == f'h3=":{dead_port}"'
    assert "where nothing answers" in checks["alt_svc"]["message"]


def test_server_without_h2(sites: Sites) -> None:
    site = sites.http1_only
    checks = check(sites, site, protocols=["h1", "h2"], mcp_path="/mcp")
    assert red(checks) == {name for name in checks if "h2" in name}
    assert "the server chose HTTP/1.1" in checks["h2.status"]["message"]
    assert "the server chose HTTP/1.1" in checks["mcp.2025-11-25.h2.initialize"]["message"]


@pytest.mark.parametrize("together", [2, 3, 7])
def test_buffered_events(sites: Sites, together: int) -> None:
    checks = check(sites, sites.good, sse_path=f"{BUFFERED}&together={together}")
    assert {"sse.h1.spacing", "sse.h2.spacing", "sse.h3.spacing"} <= red(checks)
    assert "sent together" in checks["sse.h3.spacing"]["message"]
    assert checks["sse.h3.spacing"]["value"]["events"] == 7


def test_late_first_event(sites: Sites) -> None:
    checks = check(sites, sites.good, sse_path=f"{STREAM}&together=7", sse_first_event_limit=0.3)
    first_events = {"sse.h1.first_event", "sse.h2.first_event", "sse.h3.first_event"}
    assert first_events <= red(checks)
    assert checks["sse.h3.first_event"]["value"] > 0.5
    assert "within 0.3 s, saw it after 0.6" in checks["sse.h3.first_event"]["message"]


def test_no_event_stream(sites: Sites) -> None:
    checks = check(sites, sites.good, sse_path="/api/livez?interval=0.1", protocols=["h3"])
    assert red(checks) == {"sse.h3.first_event", "sse.h3.spacing"}
    assert "text/event-stream" in checks["sse.h3.first_event"]["message"]
    checks = check(sites, sites.good, sse_path="/api/broken?interval=0.1", protocols=["h3"])
    assert "saw status 503" in checks["sse.h3.first_event"]["message"]


def test_event_stream_that_ends_early(sites: Sites) -> None:
    checks = check(sites, sites.good, sse_path=f"{STREAM}&ends=4", protocols=["h2", "h3"])
    assert red(checks) == {"sse.h2.spacing", "sse.h3.spacing"}
    assert "saw 4 events, then the end of the stream" in checks["sse.h3.spacing"]["message"]


def test_mcp_denied(sites: Sites) -> None:
    checks = check(sites, sites.good, mcp_path="/denied", protocols=["h2", "h3"])
    mcp = {name for name in checks if name.startswith("mcp.")}
    assert red(checks) == mcp
    for name in mcp:
        if not name.endswith(".tools_list"):
            assert "saw status 401" in checks[name]["message"]


@pytest.mark.parametrize("name", ["good", "foreign"])
def test_mcp_that_wants_a_token_and_says_how_to_get_one(sites: Sites, name: str) -> None:
    checks = check(sites, sites.good, mcp_path=f"/guarded/{name}", protocols=["h2", "h3"])
    assert not red(checks), [checks[name] for name in red(checks)]
    generations = ("2025-11-25", "2026-07-28")
    names = [f"mcp.{g}.{p}.authorization" for g in generations for p in ("h2", "h3")]
    assert [each for each in checks if each.startswith("mcp.")] == names
    issuer = sites.good.url if name == "good" else "https://login.test"
    for each in names:
        assert checks[each]["value"] == {
            "resource": f"{sites.good.url}/guarded/{name}",
            "authorization_servers": [issuer],
        }


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("away", "that the metadata is at https://other.test/"),
        ("lost", "names no authorization server"),
        ("mixed", "/guarded/other"),
    ],
)
def test_mcp_that_wants_a_token_and_misleads(sites: Sites, name: str, said: str) -> None:
    checks = check(sites, sites.good, mcp_path=f"/guarded/{name}", protocols=["h3"])
    assert red(checks) == {f"mcp.{g}.h3.authorization" for g in ("2025-11-25", "2026-07-28")}
    for each in red(checks):
        assert said in checks[each]["message"]


@pytest.mark.parametrize("given", [{"mcp_tool": "grep"}, {"bearer_token": "not-known"}])
def test_a_wanted_token_is_no_excuse_for_who_gives_one_or_calls_a_tool(
    sites: Sites, given: dict[str, str]
) -> None:
    checks = check(sites, sites.good, mcp_path="/guarded/good", protocols=["h2"], **given)
    assert "saw status 401" in checks["mcp.2025-11-25.h2.initialize"]["message"]
    assert red(checks) == {each for each in checks if each.startswith("mcp.")}


def test_silence(sites: Sites) -> None:
    checks = check(
        sites,
        sites.good,
        health_path="/silent",
        sse_path="/silent?interval=0.01&count=3",
        mcp_path="/silent",
        protocols=["h3"],
        timeout=0.4,
    )
    assert red(checks) == set(checks) - {"certificate"}
    for name in ("h3.status", "sse.h3.first_event", "mcp.2026-07-28.h3.server_discover"):
        assert "saw ReadTimeout: nothing came for" in checks[name]["message"]


def test_mcp_tool_that_fails(sites: Sites) -> None:
    checks = check(sites, sites.good, mcp_path="/mcp", mcp_tool="fail", protocols=["h2", "h3"])
    assert red(checks) == {name for name in checks if name.endswith(".tools_call")}
    for name in red(checks):
        assert "saw an error of the tool fail: " in checks[name]["message"]
        assert "nothing works" in checks[name]["value"]


def test_mcp_tool_that_does_not_exist(sites: Sites) -> None:
    checks = check(sites, sites.good, mcp_path="/mcp", mcp_tool="nowhere", protocols=["h3"])
    assert red(checks) == {name for name in checks if name.endswith(".tools_call")}


def test_nothing_listens(sites: Sites, dead_port: int) -> None:
    sites_port = type(sites.good)(dead_port, sites.good.config)
    checks = check(sites, sites_port, sse_path=STREAM, mcp_path="/mcp")
    assert red(checks) == set(checks)


def run_module(capsys: pytest.CaptureFixture[str], arguments: dict[str, object]) -> dict[str, Any]:
    with patch_module_args(arguments), pytest.raises(SystemExit):
        endpoint_info.main()
    result = yaml.safe_load(capsys.readouterr().out)
    assert isinstance(result, dict)
    return result


def test_result(sites: Sites, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = {
        "url": sites.good.url,
        "address": "127.0.0.1",
        "ca_path": sites.ca_path,
        "sse_path": "",
        "mcp_path": "",
        "_ansible_check_mode": True,
    }
    result = run_module(capsys, arguments)
    assert result["ok"]
    assert not result["changed"]
    assert result["seconds"] > 0
    assert [each["name"] for each in result["checks"]][:2] == ["certificate", "h1.status"]
    assert all(set(each) == {"name", "ok", "value", "seconds"} for each in result["checks"])
    result = run_module(capsys, arguments | {"health_path": "/api/broken"})
    assert not result["ok"]
    assert "failed" not in result


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "http://edge.test"}, "url must be https://host"),
        ({"url": "https://edge.test/mcp"}, "url must be https://host"),
        ({"url": "https://edge.test", "address": "edge"}, "does not appear to be an IPv4 or IPv6"),
        ({"url": "https://edge.test", "ca_path": "/nowhere.pem"}, "ca_path must be a file"),
        ({"url": "https://edge.test", "timeout": 0}, "timeout must be above 0"),
        ({"url": "https://edge.test", "mcp_path": "mcp"}, "mcp_path must begin with a slash"),
        ({"url": "https://edge.test", "sse_path": "/events"}, "does not say interval="),
        ({"url": "https://edge.test", "mcp_arguments": {"a": 1}}, "mcp_tool"),
    ],
)
def test_bad_arguments(
    capsys: pytest.CaptureFixture[str], arguments: dict[str, object], message: str
) -> None:
    result = run_module(capsys, arguments)
    assert result["failed"]
    assert message in result["msg"]


def test_missing_library(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_info, "MISSING", "ImportError: No module named 'aioquic'")
    result = run_module(capsys, {"url": "https://edge.test"})
    assert result["failed"]
    assert "requirements/endpoint_info.lock" in result["msg"]


def test_documentation_has_the_arguments() -> None:
    documented = yaml.safe_load(endpoint_info.DOCUMENTATION)["options"]
    assert set(documented) == set(endpoint_info.ARGUMENTS)
    for name, spec in endpoint_info.ARGUMENTS.items():
        option = dict(documented[name])
        del option["description"]
        assert option == {key: value for key, value in spec.items() if key != "no_log"}, name
    for part in (endpoint_info.EXAMPLES, endpoint_info.RETURN):
        assert yaml.safe_load(part)
