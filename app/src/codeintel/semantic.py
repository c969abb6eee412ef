"""Whether search by meaning can work here, and how its ranking joins another; imports no numpy."""

import os
from collections import defaultdict
from collections.abc import Hashable, Sequence
from importlib.util import find_spec
from typing import TypeVar

PACKAGES = ("numpy", "safetensors", "tokenizers")

# A vector takes milliseconds on one core; two that are busy with others took ten times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

_Key = TypeVar("_Key", bound=Hashable)


def unavailable() -> str | None:
    """Return why `codeintel.encoder` cannot be imported; None when it can."""
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if not missing:
        return None
    return f"not installed: {', '.join(missing)}; install codeintel[semantic]"


def fuse(rankings: Sequence[Sequence[_Key]], k: int = 10) -> list[_Key]:
    """Join rankings, best first, by reciprocal rank fusion: 1 / (k + rank) summed over them.

    The usual `k` is 60, for lists so long that their ends matter; here an answer has ten.

    A key counts at its first place in a ranking; ties keep the order in which keys were met.
    """
    scores: dict[_Key, float] = defaultdict(float)
    for ranking in rankings:
        for rank, key in enumerate(dict.fromkeys(ranking), start=1):
            scores[key] += 1 / (k + rank)
    return sorted(scores, key=scores.__getitem__, reverse=True)
