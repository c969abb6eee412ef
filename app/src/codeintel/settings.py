"""Settings of the service, read from ``CODEINTEL_*`` variables and systemd credentials."""

import json
import os
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from limits import RateLimitItem, RateLimitItemPerMinute, parse_many
from pydantic import (
    AfterValidator,
    Field,
    PlainValidator,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from codeintel.errors import CodeintelError
from codeintel.links import check_template

PREFIX = "CODEINTEL_"

STORES = ("redis", "rediss", "redis+unix", "valkey", "valkeys", "valkey+unix")

MIN_KEY_LENGTH = 32


LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def default_state_dir() -> Path:
    """Return ``$STATE_DIRECTORY`` under systemd, the working directory elsewhere."""
    # systemd joins several state directories with colons; the first one is ours.
    return Path(os.environ.get("STATE_DIRECTORY", "").split(":")[0] or ".")


def default_index_dir() -> Path:
    """Return ``$STATE_DIRECTORY/indexes`` under systemd, ``./indexes`` elsewhere."""
    return default_state_dir() / "indexes"


def parse_limit(value: object) -> RateLimitItem:
    """Return the limit that `value` says in the notation of `limits`, such as ``20/10 seconds``.

    Raises ValueError for anything but exactly one limit of at least 1.
    """
    if isinstance(value, RateLimitItem):
        return value
    try:
        [limit] = parse_many(str(value))
    except ValueError:
        limit = None
    if limit is None or limit.amount < 1:
        raise ValueError(f"{value!r} is no limit; write NUMBER/UNIT, such as 60/minute")
    return limit


def parse_optional_limit(value: object) -> RateLimitItem | None:
    """Return the limit that `value` says, or None when it is empty."""
    return None if value is None or value == "" else parse_limit(value)


def parse_tool_limits(value: object) -> dict[str, RateLimitItem]:
    """Return the limits by tool that `value`, a mapping or the JSON of one, says.

    Raises ValueError for anything else, naming the tool whose limit is wrong.
    """
    try:
        by_tool: Any = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        by_tool = None
    if not isinstance(by_tool, dict):
        raise ValueError('must be a JSON object, such as {"grep": "60/minute"}')
    limits = {}
    for tool, limit in by_tool.items():
        try:
            limits[tool] = parse_limit(limit)
        except ValueError as error:
            raise ValueError(f"{tool!r}: {error}") from error
    return limits


class Settings(BaseSettings):
    """What an operator can set; each field is ``CODEINTEL_<NAME>`` in the environment."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    public_url: str = "http://localhost:8000"
    """Origin under which clients reach the server: scheme, host and port, no path."""

    index_dir: Path = Field(default_factory=default_index_dir)
    """Directory with one ``<repository>.<schema>.sqlite`` per repository."""

    state_dir: Path = Field(default_factory=default_state_dir)
    """Folder of ``auth.sqlite``, where hashes of tokens are kept."""

    auth: Literal["owner", "tokens", "oidc", "none"] = "owner"
    """Who may come in."""

    owner_password: SecretStr = SecretStr("")
    """The owner's password as ``codeintel password`` prints it."""

    redirect_uris: tuple[str, ...] = ()
    """Callbacks of clients that are allowed beside the known ones and those of loopback."""

    client_documents: bool = False
    """Accept clients by the address of a document that describes them, which is fetched."""

    allow_public_without_auth: bool = False
    """Let everybody in under an address that is not this machine's."""

    oidc_issuer: str = ""
    """The identity provider, as it calls itself in `iss`."""

    oidc_client_id: str = ""
    """What the identity provider calls this server."""

    oidc_client_secret: SecretStr = SecretStr("")
    """How this server proves that to the identity provider."""

    oidc_allowed: tuple[str, ...] = ()
    """Subjects, and verified e-mail addresses, that may come in."""

    url_template: Annotated[str, AfterValidator(check_template)] = ""
    """Where people read a place in the code; empty is the server's own page."""

    model_dir: Path | None = None
    """Folder of the model that made the vectors of the indexes; None searches by words alone."""

    certificate: Path | None = None
    """The certificate that is served, for the metrics; it need not be there."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe level that is logged."""

    rate_limit: Annotated[RateLimitItem | None, PlainValidator(parse_optional_limit)] = (
        RateLimitItemPerMinute(1200)
    )
    """Most requests of one client; None is no limit."""

    tool_rate_limits: Annotated[
        dict[str, RateLimitItem], NoDecode, PlainValidator(parse_tool_limits)
    ] = Field(default_factory=dict)
    """Most calls of one client, by tool."""

    rate_limit_store: SecretStr = SecretStr("")
    """Address of the Valkey or Redis that counts for all instances; empty counts in memory."""

    stateless: bool = False
    """Keep no sessions, so that any of several instances can answer any request."""

    shared_key: SecretStr = SecretStr("")
    """What all instances seal with that clients carry from one of them to another."""

    @field_validator("public_url")
    @classmethod
    def _is_origin(cls, value: str) -> str:
        parts = urlsplit(value)
        _ = parts.port  # raises for what is no number
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an http:// or https:// URL with a host")
        if parts.path not in {"", "/"} or parts.query or parts.fragment or parts.username:
            raise ValueError("must be scheme, host and port only, without a path")
        return f"{parts.scheme}://{parts.netloc}"

    @field_validator("url_template")
    @classmethod
    def _has_path(cls, value: str) -> str:
        if value and "{path}" not in value:
            raise ValueError("must have {path} in it")
        return value

    @field_validator("rate_limit_store")
    @classmethod
    def _is_store(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url and not url.startswith(tuple(f"{scheme}://" for scheme in STORES)):
            raise ValueError("must be an address, such as valkey://localhost:6379")
        return value

    @field_validator("shared_key")
    @classmethod
    def _is_long(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < MIN_KEY_LENGTH:
            raise ValueError(f"must have {MIN_KEY_LENGTH} characters; try openssl rand -hex 32")
        return value

    @model_validator(mode="after")
    def _has_key(self) -> Self:
        if self.stateless and not self.shared_key.get_secret_value():
            raise ValueError(
                f"needs the same {PREFIX}SHARED_KEY in all instances; try openssl rand -hex 32"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (no .env file)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (replaced)
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments, then the environment, then systemd credentials."""
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        return (
            init_settings,
            env_settings,
            SecretsSettingsSource(settings_cls, secrets_dir=credentials),
        )

    @property
    def public_host(self) -> str:
        """Host name in `public_url`, without the port."""
        return urlsplit(self.public_url).hostname or ""

    @property
    def is_loopback(self) -> bool:
        """Whether `public_url` can be reached from this machine only."""
        return self.public_host in LOOPBACK

    @property
    def mcp_url(self) -> str:
        """Address that a client is given."""
        return f"{self.public_url}/mcp"


def load_settings() -> Settings:
    """Read the settings; refuse misspelt names, which would otherwise be silently ignored.

    Raises CodeintelError for an unknown name or a value that does not validate.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    given = [*os.environ, *(file.name for file in Path(credentials or os.devnull).glob("*"))]
    for name in sorted(given):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            nearest = get_close_matches(name.upper(), known, n=1, cutoff=0)[0]
            raise CodeintelError(f"unknown setting {name}; did you mean {nearest}?")
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        # Without a place, it is the one check of settings together.
        name = PREFIX + str(first["loc"][0] if first["loc"] else "stateless").upper()
        raise CodeintelError(f"{name}: {first['msg']}") from error
