import pytest
from codeintel.errors import CodeintelError
from codeintel.globs import compile_glob


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("*.py", "setup.py"),
        ("*.py", "src/deep/module.py"),
        ("src/*.py", "src/a.py"),
        ("/src/*.py", "src/a.py"),
        ("./src/*.py", "src/a.py"),
        ("src/**/*.py", "src/a.py"),
        ("src/**/*.py", "src/x/y/a.py"),
        ("src/**", "src/x/y.txt"),
        ("**/test_?.py", "a/test_1.py"),
        ("[ab].py", "b.py"),
        ("[!ab].py", "c.py"),
        ("a+(b).py", "a+(b).py"),
        ("naïve-*.md", "docs/naïve-é.md"),
    ],
)
def test_matches(glob: str, path: str) -> None:
    assert compile_glob(glob)(path)


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("*.py", "a.pyc"),
        ("src/*.py", "src/x/a.py"),
        ("src/*.py", "lib/src/a.py"),
        ("a.py", "aXpy"),
        ("?.py", "ab.py"),
        ("[!ab].py", "a.py"),
        ("[!a]/b", "//b"),
    ],
)
def test_does_not_match(glob: str, path: str) -> None:
    assert not compile_glob(glob)(path)


def test_an_invalid_glob_says_what_to_write() -> None:
    with pytest.raises(CodeintelError, match=r"invalid glob .* use "):
        compile_glob("[z-a].py")
