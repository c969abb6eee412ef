"""Names of places in the code: the ids that tools pass around, and the URLs that people open."""

import re
from dataclasses import dataclass
from string import Formatter
from urllib.parse import quote

from codeintel.errors import CodeintelError

URL_FIELDS = frozenset({"repository", "commit", "path", "start", "end"})

_ID = re.compile(r"([^/#]+)/(.+?)(?:#L(\d{1,8})(?:-L?(\d{1,8}))?)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """Lines of a file; `start` and `end` are 1-based and inclusive, `end` None for all."""

    repository: str
    path: str
    start: int = 1
    end: int | None = None

    def __str__(self) -> str:
        """Return the id: ``REPOSITORY/PATH#L3-L9``."""
        lines = "" if self.end is None else f"#L{self.start}-L{self.end}"
        return f"{self.repository}/{self.path}{lines}"


def parse_id(value: str) -> Place:
    """Return the place that an id names. Raises CodeintelError for what is no id."""
    match = _ID.fullmatch(value)
    if match is None:
        raise CodeintelError(
            f"{value[:80]!r} is not an id; pass one of search, or REPOSITORY/PATH#L3-L9"
        )
    repository, path, start, end = match.groups()
    if start is None:
        return Place(repository, path)
    return Place(repository, path, max(int(start), 1), int(end or start))


def check_template(template: str) -> str:
    """Return `template` if it makes an http(s) URL out of `URL_FIELDS`; raises ValueError."""
    fields = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    if not fields <= URL_FIELDS:
        raise ValueError(f"may name {', '.join(sorted(URL_FIELDS))} in braces, nothing else")
    if template and not template.startswith(("http://", "https://")):
        raise ValueError("must be empty or begin with http:// or https://")
    return template


def linked(place: Place, commit: str | None, prefix: str, template: str) -> str:
    """Return the address of `place`, whose tree is at `prefix` in its repository, by `template`."""
    path = quote(prefix + place.path)
    start, end = place.start, place.end or place.start
    return template.format(
        repository=place.repository, commit=commit or "HEAD", path=path, start=start, end=end
    )


def on_page(place: Place, public_url: str) -> str:
    """Return an address of the server's own page, which tells places apart by fragment.

    Clients cite only what has an address.
    """
    end = place.end or place.start
    return f"{public_url}/#{place.repository}/{quote(place.path)}:{place.start}-{end}"
