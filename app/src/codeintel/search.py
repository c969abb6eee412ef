"""Ranked search over one or all repositories, in the shapes that ChatGPT's connectors expect."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from pydantic import BaseModel

from codeintel.budget import MAX_ANSWER, fit, size
from codeintel.context import ApplicationContext
from codeintel.definitions import qualified_name
from codeintel.errors import CodeintelError
from codeintel.links import Place, parse_id, url_of
from codeintel.meaning import join
from codeintel.query import Query, parse_query, path_filter
from codeintel.reading import open_file, read_lines
from codeintel.store import Index, Ranked

MAX_RESULTS = 10
POOL = 300
"""Results that are ranked when filters will drop some of them."""

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
    commit: str | None
    score: float


Rank = Callable[[ApplicationContext, Index, str, int], list[Ranked]]


def search(context: ApplicationContext, query: str, rank: Rank) -> Results:
    """Return the best places for `query` over all repositories, or those of its filter.

    Raises CodeintelError for an unknown repository or language, and when there is no index.
    """
    parsed = parse_query(query)
    names = parsed.repositories or tuple(context.indexes.scan().ready) or (None,)
    found: list[_Found] = []
    for name in names:
        with context.indexes.open(name) as index:
            found += _search_one(context, index, parsed, rank)
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
        commit = index.info.commit
    last = min(place.end or file.lines, file.lines)

    def document(text: str, end: int) -> Document:
        shown = replace(place, end=end)
        metadata = {
            "repository": place.repository,
            "commit": commit or "unknown",
            "language": file.language or "unknown",
            "total_lines": str(file.lines),
        }
        if end < last:
            metadata["next"] = str(replace(place, start=end + 1, end=last))
        return Document(
            id=str(shown),
            title=_lines(shown),
            text=text,
            url=_url(context, shown, commit),
            metadata=metadata,
        )

    spare = MAX_ANSWER - 2 * size(document("", place.start))
    return document(*read_lines(file, place.start, last, spare))


def by_words(context: ApplicationContext, index: Index, query: str, limit: int) -> list[Ranked]:
    """Rank by words, joined with meaning where that works."""
    nearest = context.encoder.nearest(index, query, max(limit, JOINED))
    if nearest is None:
        return index.ranked(query, limit=limit)
    return join(index.ranked(query, limit=max(limit, JOINED)), nearest)


def by_meaning(context: ApplicationContext, index: Index, query: str, limit: int) -> list[Ranked]:
    """Rank by meaning alone. Raises CodeintelError where that does not work."""
    nearest = context.encoder.nearest(index, query, max(limit, JOINED))
    if nearest is None:
        raise CodeintelError(
            f"{index.info.repository} has no vectors of the model in use; use search, or index it"
            " again with --semantic"
        )
    return nearest[:limit]


def _search_one(
    context: ApplicationContext, index: Index, query: Query, rank: Rank
) -> Iterator[_Found]:
    for language in query.languages:
        if language not in index.info.languages:
            known = ", ".join(index.info.languages)
            raise CodeintelError(
                f"no {language[:40]} in {index.info.repository}; lang: is one of: {known}"
            )
    ranked = rank(context, index, query.text, POOL if query.filtered else MAX_RESULTS)
    matches = path_filter(query.paths)
    left = MAX_RESULTS
    for one in ranked:
        if (
            matches(one.path)
            and _is_language(index, one.path, query.languages)
            and _is_kind(index, one, query.kinds)
        ):
            place = Place(index.info.repository, one.path, one.start_line, one.end_line)
            yield _Found(place, one.symbol, index.info.commit, one.score)
            left -= 1
            if not left:
                return


def _is_language(index: Index, path: str, languages: tuple[str, ...]) -> bool:
    if not languages:
        return True
    return index.language(path) in languages


def _is_kind(index: Index, one: Ranked, kinds: tuple[str, ...]) -> bool:
    return not kinds or any(
        symbol.kind in kinds and qualified_name(symbol) == one.symbol
        for symbol in index.outline(one.path)
    )


def _result(context: ApplicationContext, one: _Found) -> Result:
    title = _lines(one.place)
    return Result(
        id=str(one.place),
        title=f"{title} {one.symbol}" if one.symbol else title,
        url=_url(context, one.place, one.commit),
    )


def _lines(place: Place) -> str:
    return f"{place.path}:{place.start}-{place.end}"


def _url(context: ApplicationContext, place: Place, commit: str | None) -> str:
    settings = context.settings
    return url_of(place, commit, settings.url_template, settings.public_url)
