"""What the process knows, and what it can therefore do."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from threading import Event

from codeintel import __version__
from codeintel.directory import IndexDirectory, Indexes
from codeintel.meaning import QueryEncoder
from codeintel.settings import Settings
from codeintel.store import IndexInfo

_BUILD = "codeintel index PATH --name NAME"

_NO_GRAMMAR = "no grammar fitted a file of any index, codeintel doctor lists them"
_WHEN_OFF = {
    "text": f"no index has text; rebuild with: {_BUILD}",
    "symbols": f"{_NO_GRAMMAR}; rebuild with: {_BUILD}",
    "references": f"{_NO_GRAMMAR}; rebuild with: {_BUILD}",
    "scip": f"no index was built with an index.scip; add one with: {_BUILD} --scip FILE",
    "semantic": f"no index has vectors; add them with: {_BUILD} --semantic --model DIR",
}
"""Why a capability is off although an index opens, by its name."""


@dataclass(frozen=True, slots=True)
class ApplicationContext:
    """The long-lived objects that the parts of the application share."""

    version: str
    settings: Settings
    indexes: IndexDirectory
    encoder: QueryEncoder = field(default_factory=lambda: QueryEncoder(None))
    draining: Event = field(default_factory=Event)
    """Set from the moment on that the server shuts the application down."""

    def ready(self, indexes: Indexes) -> bool:
        """Say whether tools can answer, after a look at `indexes`."""
        return bool(indexes.ready) and not self.draining.is_set()

    def works(self) -> set[str]:
        """Return the names of the capabilities that are on: those that an index has."""
        ready = self.indexes.scan().ready.values()
        found = set[str]().union(*(info.capabilities for info in ready))
        return found - {"semantic"} if self.encoder.reason is not None else found


@dataclass(frozen=True, slots=True)
class Capability:
    """Something the server can do; `reason` says why not when it is off."""

    on: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """A look at what works right now; cheap enough to take for every request.

    A capability is on when at least one index has it.
    """

    version: str
    text: Capability
    symbols: Capability
    references: Capability
    scip: Capability
    semantic: Capability
    generations: tuple[tuple[str, str], ...]
    """(repository, generation) of every index that opens."""

    @classmethod
    def of(cls, context: ApplicationContext) -> "Capabilities":
        """Find out what works; only files that are new are opened for it."""
        indexes = context.indexes.scan()
        found = context.works()
        reasons = dict(_WHEN_OFF)
        if context.encoder.reason is not None and any(
            "semantic" in info.capabilities for info in indexes.ready.values()
        ):
            reasons["semantic"] = context.encoder.reason
        return cls(
            version=context.version,
            **{
                name: Capability(on=True)
                if name in found
                else Capability(on=False, reason=indexes.reason or reason)
                for name, reason in reasons.items()
            },
            generations=tuple((name, info.generation) for name, info in indexes.ready.items()),
        )

    def __iter__(self) -> Iterator[tuple[str, Capability]]:
        """Yield (name, capability), in the order in which they build on each other."""
        return ((name, getattr(self, name)) for name in _WHEN_OFF)

    def as_dict(self) -> dict[str, object]:
        """Return a JSON-serialisable form."""
        return {
            "version": self.version,
            "capabilities": {name: asdict(capability) for name, capability in self},
            "repositories": dict(self.generations),
        }

    def stamp(self) -> str:
        """Return a digest that changes exactly when anything in `as_dict` does."""
        canonical = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return sha256(canonical.encode()).hexdigest()[:16]


def create_context(settings: Settings) -> ApplicationContext:
    """Return the context of a process with `settings`."""
    return ApplicationContext(
        __version__,
        settings,
        IndexDirectory(settings.index_dir),
        QueryEncoder(settings.model_dir),
    )


def age_seconds(info: IndexInfo) -> int:
    """Return how old an index is, never negative though clocks may differ."""
    age = datetime.now(UTC) - datetime.fromisoformat(info.indexed_at)
    return max(0, int(age.total_seconds()))
