import subprocess
import sys

import pytest
from codeintel import semantic
from codeintel.semantic import fuse, unavailable


def test_available_where_the_packages_are() -> None:
    assert unavailable() is None


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantic, "PACKAGES", ("json", "no_such_package", "nor_this"))
    assert unavailable() == (
        "not installed: no_such_package, nor_this; install codeintel[semantic]"
    )


def test_asking_imports_nothing_heavy() -> None:
    code = "import sys; from codeintel.semantic import *; assert unavailable() is None; "
    code += "print([name for name in PACKAGES if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_what_two_rankings_agree_on_comes_first() -> None:
    assert fuse([["a", "b", "c"], ["d", "b"]]) == ["b", "a", "d", "c"]


def test_a_key_counts_at_its_first_place_only() -> None:
    assert fuse([["a", "b", "b", "b"], ["a"]]) == ["a", "b"]
    assert fuse([["x", "y", "y"], ["z"]], k=0) == ["x", "z", "y"]


def test_a_larger_k_flattens_the_ranks() -> None:
    rankings = [[1, 2, 3], [4, 5, 3]]
    assert fuse(rankings, k=0)[0] == 1
    assert fuse(rankings, k=60)[0] == 3


def test_nothing_to_fuse() -> None:
    assert fuse([]) == []
    assert fuse([[], []]) == []
