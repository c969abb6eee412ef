"""Finding by meaning: the encoder of queries, and the joining of its ranking with another."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING

from codeintel.errors import CodeintelError
from codeintel.semantic import fuse, unavailable
from codeintel.store import Index, Ranked

if TYPE_CHECKING:
    from codeintel.encoder import Encoder


class QueryEncoder:
    """The model that turns queries into vectors; loaded once, before the first of them."""

    def __init__(self, folder: Path | None) -> None:
        """Take the model in `folder`; None is no model."""
        self._folder = folder
        self._encoder: Encoder | None = None
        self.reason: str | None = "no model; give its folder with CODEINTEL_MODEL_DIR"
        """Why there is no encoder; None once there is one."""

    def load(self) -> None:
        """Load the model, about half a second; if that fails, `reason` says why."""
        if self._folder is None or self._encoder is not None:
            return
        self.reason = unavailable()
        if self.reason is None:
            from codeintel.encoder import Encoder  # noqa: PLC0415 (imports numpy)

            try:
                self._encoder = Encoder.load(self._folder)
            except CodeintelError as error:
                self.reason = str(error)

    def nearest(
        self, index: Index, query: str, limit: int, scope: str | None
    ) -> list[Ranked] | None:
        """Return the places nearest to `query`; None where vectors of this model are missing."""
        if self._encoder is None or index.model != self._encoder.digest:
            return None
        [vector] = self._encoder.encode([query])
        return index.nearest(vector, limit=limit, scope=scope)


def join(by_words: Sequence[Ranked], by_meaning: Sequence[Ranked]) -> list[Ranked]:
    """Fuse two rankings by file, as they find different places in one; the words' place is shown.

    The scores stay those of the words, so that repositories compare.
    """
    places = {one.path: one for one in (*reversed(by_meaning), *reversed(by_words))}
    order = fuse([[one.path for one in ranking] for ranking in (by_words, by_meaning)])
    scores = chain((one.score for one in by_words), repeat(0.0))
    return [replace(places[path], score=score) for path, score in zip(order, scores, strict=False)]
