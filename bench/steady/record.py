"""What was seen, as it is noted while it happens; all times are those of the event loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

GET = "get"
SESSION_ERA = "2025-11-25"
STATELESS = "2026-07-28"
KINDS = (GET, SESSION_ERA, STATELESS)


@dataclass
class Sample:
    """One request, from when it was due to when it was over."""

    protocol: str
    kind: str
    due: float
    fresh: bool = False  # a connection was opened for it
    done: float = inf
    failure: str = ""  # one word for what went wrong
    error: str = ""
    repeated: int = 0  # how often the server said that it had not taken it
    renewed: bool = False  # its session was gone, and it waited for another one

    @property
    def seconds(self) -> float:
        """How long it took, from when it was due."""
        return self.done - self.due


@dataclass
class Life:
    """One event stream, from its beginning to its end."""

    protocol: str
    slot: int
    asked: float
    begun: float = inf  # when its first event was there
    over: float = inf
    arrivals: list[float] = field(default_factory=list)
    ending: str = "open"  # or "ended" by the server, "broken", or "failed" to open
    error: str = ""


@dataclass
class Log:
    """All that was seen in one run."""

    begin: float = 0.0
    end: float = 0.0
    command_begin: float | None = None
    command_end: float | None = None
    late: float = 0.0  # the most that a request was sent behind its time
    samples: list[Sample] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    sessions_renewed: int = 0
    skipped: list[str] = field(default_factory=list)

    @property
    def zero(self) -> float:
        """What offsets are counted from: the beginning of the command, or of the load."""
        return self.begin if self.command_begin is None else self.command_begin

    def phase(self, begin: float, end: float) -> str:
        """Say on which side of the command a time was; without one, all was during.

        What began before the command and ended after its begin may be of its making.
        """
        if self.command_begin is not None and end < self.command_begin:
            return "before"
        if self.command_end is not None and begin >= self.command_end:
            return "after"
        return "during"
