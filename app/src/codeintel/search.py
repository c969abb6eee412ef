"""Ranked search over one or all repositories, in the shapes that ChatGPT's connectors expect."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel

from codeintel.budget import MAX_ANSWER, fit, size
from codeintel.context import ApplicationContext
from codeintel.errors import CodeintelError
from codeintel.links import Place, linked, on_page, parse_id
from codeintel.meaning import join
from codeintel.query import parse_query, path_filter
from codeintel.reading import open_file, read_lines
from codeintel.store import Index, IndexInfo, Ranked

MAX_RESULTS = 10
JOINED = 50
"""Results of a ranking that decide the order of files: several good places in one count."""


class Result(BaseModel):
    """One place that answers a query; `title` is ``path:first-last symbol``."""

    id: str
    title: str
    url: str


class Results(BaseModel):
    """Places that answer a query, best first."""

    results: list[Result]


class Document(BaseModel):
    """The text of one place, in whole lines."""

    id: str
    title: str
    text: str
    url: str
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Found:
    place: Place
    symbol: str | None
    info: IndexInfo
    score: float


Rank = Callable[[ApplicationContext, Index, str, str | None], list[Ranked] | None]
"""Returns what answers a query best, within a scope of an index; None where it cannot rank."""


def search(context: ApplicationContext, query: str, rank: Rank) -> Results:
    """Return the best places for `query` over all repositories, or those of its filter.

    Raises CodeintelError for an unknown repository, for languages or kinds that none of them has,
    where none can be ranked, and when there is no index.
    """
    parsed = parse_query(query)
    matches = path_filter(parsed.paths)
    names = parsed.repositories or tuple(context.indexes.scan().ready) or (None,)
    found: list[_Found] = []
    languages: set[str] = set()
    kinds: set[str] = set()
    able = False
    for name in names:
        with context.indexes.open(name) as index:
            info = index.info
            languages |= set(info.languages)
            kinds |= index.kinds() if parsed.kinds else set()
            scope = index.scope(matches, parsed.languages, parsed.kinds)
            ranked = rank(context, index, parsed.text, scope)
        able = able or ranked is not None
        for one in (ranked or [])[:MAX_RESULTS]:
            place = Place(info.repository, one.path, one.start_line, one.end_line)
            found.append(_Found(place, one.symbol, info, one.score))
    _refuse_unknown("lang", parsed.languages, languages)
    _refuse_unknown("kind", parsed.kinds, kinds)
    if not able:
        raise CodeintelError(
            "no repository here has vectors of the model in use; use search, or index them again"
            " with --semantic"
        )
    found.sort(key=lambda one: -one.score)
    results = [_result(context, one) for one in found[:MAX_RESULTS]]
    return Results(results=list(fit(results)))


def fetch(context: ApplicationContext, wanted: str) -> Document:
    """Return the text of the place whose id is `wanted`, as many whole lines as an answer holds.

    `metadata.next` is the id of the rest. Raises CodeintelError for what is no id, no file of
    the index, or no lines of it.
    """
    place = parse_id(wanted)
    with context.indexes.open(place.repository) as index:
        file = open_file(index, place.path)
        info = index.info
    last = min(place.end or file.lines, file.lines)

    def document(text: str, end: int) -> Document:
        shown = replace(place, end=end)
        metadata = {
            "repository": place.repository,
            "commit": info.commit or "unknown",
            "language": file.language or "unknown",
            "total_lines": str(file.lines),
        }
        if end < last:
            metadata["next"] = str(replace(place, start=end + 1, end=last))
        return Document(
            id=str(shown),
            title=_lines(shown),
            text=text,
            url=_url(context, shown, info),
            metadata=metadata,
        )

    spare = MAX_ANSWER - 2 * size(document("", place.start))
    return document(*read_lines(file, place.start, last, spare))


def by_words(
    context: ApplicationContext, index: Index, query: str, scope: str | None
) -> list[Ranked]:
    """Rank by words, joined with meaning where that works."""
    nearest = context.encoder.nearest(index, query, JOINED, scope)
    if nearest is None:
        return index.ranked(query, limit=MAX_RESULTS, scope=scope)
    return join(index.ranked(query, limit=JOINED, scope=scope), nearest)


def by_meaning(
    context: ApplicationContext, index: Index, query: str, scope: str | None
) -> list[Ranked] | None:
    """Rank by meaning alone; None where that does not work."""
    return context.encoder.nearest(index, query, JOINED, scope)


def _refuse_unknown(name: str, wanted: Sequence[str], known: Collection[str]) -> None:
    """Raise CodeintelError if none of the values of a filter can be met with."""
    if wanted and not set(wanted) & set(known):
        there = ", ".join(sorted(known)) or "nothing here"
        raise CodeintelError(f"no {', '.join(wanted)[:40]} here; {name}: is one of: {there}")


def _result(context: ApplicationContext, one: _Found) -> Result:
    title = _lines(one.place)
    return Result(
        id=str(one.place),
        title=f"{title} {one.symbol}" if one.symbol else title,
        url=_url(context, one.place, one.info),
    )


def _lines(place: Place) -> str:
    return f"{place.path}:{place.start}-{place.end}"


def _url(context: ApplicationContext, place: Place, info: IndexInfo) -> str:
    settings = context.settings
    if settings.url_template:
        return linked(place, info.commit, info.prefix, settings.url_template)
    return on_page(place, settings.public_url)
