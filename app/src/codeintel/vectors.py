"""Keep unit vectors in a byte for each number, and find the nearest ones to another exactly."""

from math import sqrt

import numpy as np
from numpy.typing import NDArray

# A number of a unit vector is about 1 / sqrt(dimension); those of more than 8 times that are cut.
_WIDEST = 8

# Rows turned into floats at a time: they stay in the processor's cache.
_BLOCK = 512


def pack(vectors: NDArray[np.float32]) -> bytes:
    """Return unit `vectors`, (rows, dimension), as rows * dimension bytes."""
    scaled = np.rint(vectors * _scale(vectors.shape[1])).clip(-127, 127)
    packed: bytes = scaled.astype(np.int8).tobytes()
    return packed


def unpack(packed: bytes, dimension: int) -> NDArray[np.int8]:
    """Return what `pack` made, several of them joined or not, as (rows, dimension), uncopied."""
    return np.frombuffer(packed, np.int8).reshape(-1, dimension)


def nearest(
    vectors: NDArray[np.int8], query: NDArray[np.float32], limit: int
) -> list[tuple[int, float]]:
    """Return (row, cosine similarity) of the `limit` unpacked `vectors` nearest to `query`.

    `query` is one unit vector, (dimension,); the nearest row comes first.
    """
    rows, dimension = vectors.shape
    similarities = np.empty(rows, np.float32)
    for start in range(0, rows, _BLOCK):
        block = vectors[start : start + _BLOCK].astype(np.float32)
        similarities[start : start + _BLOCK] = block @ query
    similarities /= _scale(dimension)
    best = np.argpartition(-similarities, limit)[:limit] if limit < rows else np.arange(rows)
    best = best[np.lexsort((best, -similarities[best]))]
    return [(int(row), float(similarities[row])) for row in best]


def _scale(dimension: int) -> float:
    return 127 * sqrt(dimension) / _WIDEST
