"""What the process knows, and what it can therefore do."""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256

from codeintel.settings import Settings
from codeintel.store import IndexDirectory


@dataclass(frozen=True, slots=True)
class ApplicationContext:
    """The long-lived objects that the parts of the application share."""

    version: str
    settings: Settings
    indexes: IndexDirectory


@dataclass(frozen=True, slots=True)
class Capability:
    """Something the server can do; `reason` says why not when it is off."""

    on: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """A look at what works right now; cheap enough to take for every request."""

    version: str
    text: Capability
    generations: tuple[tuple[str, str], ...]
    """(repository, generation) of every index that opens."""

    @classmethod
    def of(cls, context: ApplicationContext) -> "Capabilities":
        """Find out what works."""
        indexes = context.indexes.scan()
        return cls(
            version=context.version,
            text=Capability(on=bool(indexes.ready), reason=indexes.reason),
            generations=tuple((name, info.generation) for name, info in indexes.ready.items()),
        )

    def has(self, name: str) -> bool:
        """Say whether the capability called `name` is on."""
        capability: Capability = getattr(self, name)
        return capability.on

    def as_dict(self) -> dict[str, object]:
        """Return a JSON-serialisable form."""
        return {
            "version": self.version,
            "capabilities": {"text": asdict(self.text)},
            "repositories": dict(self.generations),
        }

    def stamp(self) -> str:
        """Return a digest that changes exactly when anything in `as_dict` does."""
        canonical = json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))
        return sha256(canonical.encode()).hexdigest()[:16]
