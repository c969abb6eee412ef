import pytest
from codeintel.definitions import OUTLINE_BUDGET, last_part, outline_lines
from codeintel.store import Symbol


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("f", "f"),
        ("f()", "f"),
        ("a.b.f", "f"),
        ("A::f", "f"),
        ("A#f", "f"),
        ("a->f", "f"),
        ("operator.", "operator."),
        ("::", "::"),
    ],
)
def test_the_last_part_of_a_name(name: str, last: str) -> None:
    assert last_part(name) == last


def symbols(top: int, inner: int, name: str) -> list[Symbol]:
    made = []
    for number in range(top):
        made.append(Symbol(f"{name}{number}", "class", "a", 1, 9, None, "class C:" + " " * 90))
        made += [Symbol("f", "method", "a", 2, 3, f"{name}{number}", "def f():")] * inner
    return made


@pytest.mark.parametrize(
    ("top", "inner", "name", "lines", "hint"),
    [
        (2, 3, "C", 8, None),
        (100, 0, "C", 100, "names only"),
        (100, 20, "C", 100, "top level only"),
        (900, 1, "C" * 30, 2, "counts only"),
    ],
)
def test_a_long_outline_says_less(
    top: int, inner: int, name: str, lines: int, hint: str | None
) -> None:
    shown, said = outline_lines(symbols(top, inner, name))
    assert len(shown) == lines
    assert (said or "").startswith(hint or "")
    assert (said is None) is (hint is None)
    assert sum(map(len, shown)) <= OUTLINE_BUDGET


def test_counts_name_the_kinds() -> None:
    assert outline_lines(symbols(900, 2, "C" * 30))[0] == ["1800 method", "900 class"]
