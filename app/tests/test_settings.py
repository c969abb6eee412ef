from pathlib import Path

import pytest
from codeintel.errors import CodeintelError
from codeintel.settings import Settings, load_settings
from limits import RateLimitItemPerMinute, RateLimitItemPerSecond


def test_defaults_serve_a_local_trial() -> None:
    settings = load_settings()
    assert settings.mcp_url == "http://localhost:8000/mcp"
    assert settings.index_dir == Path("indexes")


def test_index_dir_follows_the_state_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/codeintel:/var/lib/other")
    assert load_settings().index_dir == Path("/var/lib/codeintel/indexes")


def test_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEINTEL_PUBLIC_URL", "https://mcp.example.com:8443/")
    monkeypatch.setenv("CODEINTEL_INDEX_DIR", "/srv/indexes")
    settings = load_settings()
    assert settings.public_url == "https://mcp.example.com:8443"
    assert settings.public_host == "mcp.example.com"
    assert settings.index_dir == Path("/srv/indexes")


def test_credentials_are_read_after_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "codeintel_public_url").write_text("https://credential.example.com\n")
    (tmp_path / "codeintel_log_level").write_text("ERROR")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("CODEINTEL_LOG_LEVEL", "DEBUG")
    settings = load_settings()
    assert settings.public_url == "https://credential.example.com"
    assert settings.log_level == "DEBUG"


def test_an_unknown_name_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEINTEL_PUBLC_URL", "https://mcp.example.com")
    with pytest.raises(CodeintelError, match=r"PUBLC_URL; did you mean CODEINTEL_PUBLIC_URL\?"):
        load_settings()


def test_so_is_that_of_a_credential(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "hypercorn.key").write_text("of somebody else")
    (tmp_path / "codeintel_shared_kye").write_text("x" * 32)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(CodeintelError, match=r"shared_kye; did you mean CODEINTEL_SHARED_KEY\?"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CODEINTEL_PUBLIC_URL", "mcp.example.com"),
        ("CODEINTEL_PUBLIC_URL", "ftp://mcp.example.com"),
        ("CODEINTEL_PUBLIC_URL", "https://mcp.example.com/mcp"),
        ("CODEINTEL_PUBLIC_URL", "https://me@mcp.example.com"),
        ("CODEINTEL_PUBLIC_URL", "https://mcp.example.com:port"),
        ("CODEINTEL_LOG_LEVEL", "LOUD"),
        ("CODEINTEL_RATE_LIMIT", "fast"),
        ("CODEINTEL_RATE_LIMIT", "1200"),
        ("CODEINTEL_RATE_LIMIT", "0/minute"),
        ("CODEINTEL_RATE_LIMIT", "-1/minute"),
        ("CODEINTEL_RATE_LIMIT", "5/fortnight"),
        ("CODEINTEL_RATE_LIMIT", "20/second;1200/minute"),
        ("CODEINTEL_RATE_LIMIT", "1/minute\n2"),
        ("CODEINTEL_RATE_LIMIT_STORE", "localhost:6379"),
        ("CODEINTEL_RATE_LIMIT_STORE", "memcached://localhost"),
        ("CODEINTEL_SHARED_KEY", "short"),
        ("CODEINTEL_STATELESS", "1"),
        ("CODEINTEL_URL_TEMPLATE", "https://git.example.com/blob"),
        ("CODEINTEL_TOOL_RATE_LIMITS", ""),
        ("CODEINTEL_TOOL_RATE_LIMITS", "grep=60/minute"),
        ("CODEINTEL_TOOL_RATE_LIMITS", '["60/minute"]'),
        ("CODEINTEL_TOOL_RATE_LIMITS", '{"grep": 60}'),
        ("CODEINTEL_TOOL_RATE_LIMITS", '{"grep": ""}'),
    ],
)
def test_a_bad_value_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(CodeintelError) as refusal:
        load_settings()
    assert str(refusal.value).startswith(f"{name}: ")
    assert "\n" not in str(refusal.value)


def test_limits_are_read_in_the_notation_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().rate_limit == RateLimitItemPerMinute(1200)
    assert load_settings().tool_rate_limits == {}
    monkeypatch.setenv("CODEINTEL_RATE_LIMIT", "20 per 10 seconds")
    monkeypatch.setenv("CODEINTEL_TOOL_RATE_LIMITS", '{"grep": "60/minute"}')
    assert load_settings().rate_limit == RateLimitItemPerSecond(20, 10)
    assert load_settings().tool_rate_limits == {"grep": RateLimitItemPerMinute(60)}
    monkeypatch.setenv("CODEINTEL_RATE_LIMIT", "")
    assert load_settings().rate_limit is None


def test_a_malformed_limit_names_the_tool_and_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEINTEL_TOOL_RATE_LIMITS", '{"grep": "60 minute"}')
    with pytest.raises(CodeintelError, match=r"'grep': '60 minute' .* write .* 60/minute"):
        load_settings()


def test_without_sessions_a_key_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CODEINTEL_STATELESS", "true")
    with pytest.raises(CodeintelError, match=r"STATELESS: .* same CODEINTEL_SHARED_KEY in all"):
        load_settings()
    (tmp_path / "codeintel_shared_key").write_text("0123456789abcdef" * 4 + "\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = load_settings()
    assert settings.stateless
    assert "0123" not in repr(settings)
    assert settings.shared_key.get_secret_value() == "0123456789abcdef" * 4


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().public_url = "https://other.example"
