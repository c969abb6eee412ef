"""What a run is to do."""

from __future__ import annotations

from dataclasses import dataclass, field

from steady.kinds import USER_AGENT, Headers, Tool
from steady.target import PROTOCOLS, Target


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The load and how long it lasts; times are seconds."""

    target: Target
    protocols: tuple[str, ...] = PROTOCOLS
    before: float = 3
    after: float = 5
    most: float = 600  # the whole run takes no longer
    rate: float = 2  # a second, of each kind over each protocol
    fresh: float = 1  # of these, how many a second over each protocol on new connections
    streams: int = 2  # over each protocol
    path: str = "/api/livez"
    sse_path: str = "/api/sse?interval=0.5&count=7200"
    mcp_path: str = "/mcp"  # none if empty
    tool: Tool | None = None  # else one that is known to be harmless
    token: str | None = field(default=None, repr=False)
    patience: float = 5  # until a request without an answer has failed
    silence: float = 30  # until a stream without an event is broken

    @property
    def headers(self) -> Headers:
        """What every request carries."""
        if self.token is None:
            return (USER_AGENT,)
        return (USER_AGENT, ("authorization", f"Bearer {self.token}"))
