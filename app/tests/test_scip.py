import os
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from codeintel import scip
from codeintel.context import create_context
from codeintel.errors import CodeintelError
from codeintel.indexer import build_index
from codeintel.scip import Occurrence, read_occurrences
from codeintel.settings import Settings
from codeintel.store import Reference, index_path, open_index
from codeintel.tools import Tools
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

REAL = Path(__file__).parent / "scip_python"
SYMBOL = "scip-python python demo 1.0 `demo.cache`/Cache#get()."


def varint(value: int) -> bytes:
    data = b""
    while value > 127:
        data += bytes([value & 127 | 128])
        value >>= 7
    return data + bytes([value])


def field(number: int, value: bytes | str | int) -> bytes:
    """Encode one field as protobuf does."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def occurrence(position: Iterable[int], symbol: str = SYMBOL, roles: int = 0) -> bytes:
    packed = b"".join(varint(number % (1 << 64)) for number in position)
    return field(1, packed) + field(2, symbol) + field(3, roles) + field(5, 6)


def document(path: str, *occurrences: bytes) -> bytes:
    symbols = field(3, field(1, SYMBOL) + field(3, "says what it does"))
    return (
        field(4, "python") + field(1, path) + b"".join(field(2, o) for o in occurrences) + symbols
    )


def index(*documents: bytes) -> bytes:
    metadata = field(1, field(3, "file:///build/demo"))
    return metadata + b"".join(field(2, d) for d in documents) + field(3, field(1, "external"))


def read(tmp_path: Path, data: bytes) -> list[Occurrence]:
    file = tmp_path / "index.scip"
    file.write_bytes(data)
    return list(read_occurrences(file))


def test_occurrences_by_document_with_their_roles(tmp_path: Path) -> None:
    data = index(
        document(
            "demo/cache.py",
            occurrence([6, 8, 11], roles=1 | 16),
            occurrence([0, 0, 0], symbol="local 3"),
            occurrence([0, 0, 0], symbol=""),
        ),
        document("a b/é.py", occurrence([0, 4, 2, 0], roles=2), occurrence([299, 0, 3], roles=8)),
    )
    assert read(tmp_path, data) == [
        Occurrence("demo/cache.py", 7, "get", SYMBOL, "definition"),
        Occurrence("a b/é.py", 1, "get", SYMBOL, "import"),
        Occurrence("a b/é.py", 300, "get", SYMBOL, "reference"),
    ]


@pytest.mark.parametrize(
    ("descriptors", "name"),
    [
        ("`demo.cache`/", "demo.cache"),
        ("`demo.cache`/__init__:", "cache"),
        ("demo/__init__:", "demo"),
        ("/__init__:", "__init__"),
        ("demo/Cache#__init__().", "__init__"),
        ("demo/Cache#", "Cache"),
        ("demo/Cache#limit.", "limit"),
        ("demo/Cache#get(+1).", "get"),
        ("demo/Cache#get().(key)", "key"),
        ("demo/Cache#[T]", "T"),
        ("demo/CHECK!", "CHECK"),
        ("demo/`a``b`#", "a`b"),
        ("demo/`operator()`().", "operator()"),
        ("demo/$value_+-.", "$value_+-"),
    ],
)
def test_the_name_is_that_of_the_last_descriptor(
    tmp_path: Path, descriptors: str, name: str
) -> None:
    symbol = f"scip-x manager package 1.0 {descriptors}"
    [found] = read(tmp_path, index(document("a", occurrence([0, 0, 1], symbol))))
    assert (found.name, found.symbol) == (name, symbol)


def test_the_qualified_name_has_all_descriptors() -> None:
    for descriptors, qualified in (
        ("`demo.cache`/Cache#get().", "demo.cache.Cache.get"),
        ("`demo.cache`/__init__:", "demo.cache"),
        ("demo/Cache#get(+1).(key)", "demo.Cache.get.key"),
        ("src/`a``b`#[T]", "src.a`b.T"),
    ):
        symbol = f"scip-x manager package 1.0 {descriptors}"
        assert Occurrence("a", 1, "x", symbol, "reference").qualified == qualified


def test_what_scip_python_wrote_tells_two_of_one_name_apart(index_dir: Path) -> None:
    """The index is of scip-python 0.6.6: ``scip-python index . --project-name=demo``."""
    build_index(REAL, "demo", index_dir, scip=REAL / "index.scip")
    with open_index(index_path(index_dir, "demo")) as opened:
        every = [
            ("cache.py", 11),
            ("cache.py", 12),
            ("main.py", 4),
            ("main.py", 11),
            ("main.py", 12),
        ]
        assert [(r.path, r.line) for r in opened.references("get")[0]] == every
        assert opened.references("get", "Cache.get")[0] == [
            Reference("cache.py", 11, "definition"),
            Reference("main.py", 12, "reference"),
        ]
        assert opened.references("get", "main.get")[0] == [
            Reference("main.py", 4, "definition"),
            Reference("main.py", 11, "reference"),
        ]
        assert opened.references("get", "Nowhere.get") == opened.references("get")
        assert opened.references("get")[1] == "scip"
        assert opened.references("demo")[1] == "text"  # a word that SCIP says nothing of
    tools = Tools(create_context(Settings(index_dir=index_dir)))
    assert [tools.references(name).source for name in ("get", "demo")] == ["scip", "text"]


GOOD = index(document("a.py", occurrence([0, 0, 1])))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no document"),
        (b"print('not an index')\n", "ends within|something else"),
        (GOOD[:-1], "ends within"),
        (GOOD + b"\x12", "ends within"),
        (GOOD + b"\xff" * 10, "no end"),
        (GOOD + field(9, 1), "something else"),
        (index(document("../a.py")), "no path below"),
        (index(document("/etc/passwd")), "no path below"),
        (index(document("a//b")), "no path below"),
        (index(document("a\0b")), "no path below"),
        (index(document("")), "no path below"),
        (index(b"\x12\x05abc"), "DecodeError|pars"),
        (index(field(1, b"\xff.py")), "pars|UTF-8"),
        (index(document("a", occurrence([]))), "without a line"),
        (index(document("a", occurrence([1, 2]))), "without a line"),
        (index(document("a", occurrence([-1, 0, 1]))), "without a line"),
        (index(document("a", occurrence([0, 0, 1], "no symbol"))), "is no symbol"),
    ],
)
def test_a_malformed_index_is_one_error(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(CodeintelError) as caught:
        read(tmp_path, data)
    message = str(caught.value)
    assert re.search(reason, message), message
    assert message.count("\n") == 0
    assert "index.scip is not a sound SCIP index" in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CodeintelError, match=r"gone\.scip cannot be read: No such file"):
        list(read_occurrences(tmp_path / "gone.scip"))


def test_only_documents_are_read_and_none_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scip, "MAX_DOCUMENT_BYTES", 200)
    external = field(3, field(1, "x" * 10_000))
    assert len(read(tmp_path, external + GOOD + external)) == 1
    with pytest.raises(CodeintelError, match="more than 200 bytes"):
        read(tmp_path, index(document("a", *[occurrence([0, 0, 1])] * 9)))


def test_a_length_beyond_the_file_allocates_nothing(tmp_path: Path) -> None:
    file = tmp_path / "index.scip"
    file.write_bytes(varint(2 << 3 | 2) + varint(1 << 62))
    with pytest.raises(CodeintelError, match="ends within"):
        list(read_occurrences(file))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw an index with bytes replaced, inserted or cut, so that its frame is often intact."""
    data = bytearray(index(document("a/b.py", occurrence([3, 0, 1], roles=1)), document("c")))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(data)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.one_of(st.binary(max_size=200), damaged(), st.binary().map(index)))
def test_no_bytes_do_anything_but_read_or_raise_the_one_error(tmp_path: Path, data: bytes) -> None:
    try:
        found = read(tmp_path, data)
    except CodeintelError as error:
        assert "\n" not in str(error)
        return
    for one in found:
        assert one.line >= 1
        assert one.name
        assert not os.path.isabs(one.path)  # noqa: PTH117
        assert os.path.normpath(one.path) == one.path
        assert not one.path.startswith("..")
