import numpy as np
import pytest
from codeintel.vectors import nearest, pack, unpack
from numpy.typing import NDArray

ROWS, DIMENSION = 2000, 384  # more rows than one block has


@pytest.fixture(scope="module")
def units() -> NDArray[np.float32]:
    vectors = np.random.default_rng(0).normal(size=(ROWS, DIMENSION)).astype(np.float32)
    units: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return units


def test_a_byte_for_each_number(units: NDArray[np.float32]) -> None:
    assert len(pack(units)) == ROWS * DIMENSION
    joined = b"".join(pack(part) for part in (units[:3], units[3:3], units[3:]))
    assert np.array_equal(unpack(joined, DIMENSION), unpack(pack(units), DIMENSION))


def test_numbers_far_from_the_others_are_cut_not_wrapped() -> None:
    axis = np.zeros((1, DIMENSION), np.float32)
    axis[0, 7] = -1
    packed = unpack(pack(axis), DIMENSION)
    assert packed[0, 7] == -127
    assert np.count_nonzero(packed) == 1


def test_nearest_is_exact(units: NDArray[np.float32]) -> None:
    query = units[1234]
    expected = units @ query
    found = nearest(unpack(pack(units), DIMENSION), query, 10)
    assert found[0][0] == 1234
    for row, similarity in found:
        assert similarity == pytest.approx(expected[row], abs=5e-3)
    similarities = [similarity for _, similarity in found]
    assert similarities == sorted(similarities, reverse=True)
    # Nothing that was left out is nearer, up to what the bytes round away.
    rest = np.delete(expected, [row for row, _ in found])
    assert rest.max() <= similarities[-1] + 5e-3


def test_rows_that_are_equally_near_keep_their_order(units: NDArray[np.float32]) -> None:
    same = np.repeat(units[:1], 5, axis=0)
    assert [row for row, _ in nearest(unpack(pack(same), DIMENSION), units[0], 5)] == [
        0,
        1,
        2,
        3,
        4,
    ]


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 50])
def test_limits_around_the_number_of_rows(units: NDArray[np.float32], limit: int) -> None:
    found = nearest(unpack(pack(units[:3]), DIMENSION), units[1], limit)
    assert len(found) == min(limit, 3)
    assert [row for row, _ in found][:1] == [1][:limit]


def test_no_rows(units: NDArray[np.float32]) -> None:
    assert nearest(unpack(b"", DIMENSION), units[0], 5) == []
