"""The origin of the server as OAuth compares it: character by character."""

from pydantic import AnyHttpUrl, ConfigDict, TypeAdapter

# Without the slash that URLs get otherwise.
_ORIGIN = TypeAdapter(AnyHttpUrl, config=ConfigDict(url_preserve_empty_path=True))


def parse_origin(public_url: str) -> AnyHttpUrl:
    """Return `public_url` as an issuer. Raises pydantic's ValidationError for what is no URL."""
    return _ORIGIN.validate_python(public_url)
