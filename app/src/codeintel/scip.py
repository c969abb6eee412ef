"""Read the occurrences of symbols out of an index.scip that a language's own indexer wrote."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Literal

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from codeintel.errors import CodeintelError

MAX_DOCUMENT_BYTES = 32 << 20
"""A document is decoded as a whole; the largest sources that are indexed need far less."""

_DOCUMENTS = 2  # the number of the field in the message Index
_LENGTH_DELIMITED = 2  # the wire type of a message in a message

# The last descriptor of a symbol, backwards: its suffix, its name, in backticks or plain, and what
# opens that of a parameter.
_LAST_DESCRIPTOR = re.compile(
    r"(?:\.\)[^()]*+\(|[/#.:!\])])(?:`((?:[^`]|``)++)`|([\w+$-]++))[\[(]?"
)

Role = Literal["definition", "import", "reference"]


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A place where a symbol is defined, imported or otherwise used.

    `path` is relative to the root of the tree, `line` 1-based, `name` what source code calls the
    symbol, and `symbol` names it uniquely among all packages.
    """

    path: str
    line: int
    name: str
    symbol: str
    role: Role

    @property
    def qualified(self) -> str:
        """The name behind those of its module and containers, joined by dots."""
        return _qualified(self.symbol)


def read_occurrences(file: Path) -> Iterator[Occurrence]:
    """Yield the occurrences in `file`, document by document; symbols local to one are left out.

    Raises CodeintelError, possibly after some occurrences, if `file` is not a sound SCIP index.
    """
    try:
        with file.open("rb") as stream:
            for data in _documents(stream):
                yield from _occurrences(data)
    except OSError as error:
        raise CodeintelError(f"{file} cannot be read: {error.strerror}") from error
    except (DecodeError, ValueError) as error:
        raise CodeintelError(
            f"{file} is not a sound SCIP index: {error}; write it again with the SCIP indexer "
            "of the language, or index without it"
        ) from error


def _documents(stream: BinaryIO) -> Iterator[bytes]:
    """Yield each encoded Document of an encoded Index, which may be larger than memory."""
    size = os.fstat(stream.fileno()).st_size
    empty = True
    while stream.tell() < size:
        key = _varint(stream)
        if key & 7 != _LENGTH_DELIMITED:  # as every field of an Index is
            raise ValueError("it holds something else than messages")
        length = _varint(stream)
        if length > size - stream.tell():
            raise ValueError("it ends within a message")
        if key >> 3 != _DOCUMENTS:
            stream.seek(length, os.SEEK_CUR)
            continue
        if length > MAX_DOCUMENT_BYTES:
            raise ValueError(f"a document of it has more than {MAX_DOCUMENT_BYTES} bytes")
        empty = False
        yield stream.read(length)
    if empty:
        raise ValueError("it holds no document")


def _varint(stream: BinaryIO) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = stream.read(1)
        if not byte:
            raise ValueError("it ends within a message")
        value |= (byte[0] & 0x7F) << shift
        if not byte[0] & 0x80:
            return value
    raise ValueError("a number of it has no end")


def _occurrences(data: bytes) -> Iterator[Occurrence]:
    document: Any = _DOCUMENT.FromString(data)
    path: str = document.relative_path
    if any(part in {"", ".", ".."} for part in path.split("/")) or "\0" in path:
        raise ValueError(f"{path[:200]!r} is no path below the root of a tree")
    names: dict[str, str] = {}
    for occurrence in document.occurrences:
        symbol: str = occurrence.symbol
        if not symbol or symbol.startswith("local "):
            continue
        name = names.get(symbol) or names.setdefault(symbol, _name(symbol))
        position = occurrence.range
        if len(position) not in {3, 4} or position[0] < 0:
            raise ValueError(f"{path[:200]!r} has an occurrence without a line")
        roles: int = occurrence.symbol_roles
        role: Role = "definition" if roles & 1 else "import" if roles & 2 else "reference"
        yield Occurrence(path, position[0] + 1, name, symbol, role)


def _name(symbol: str) -> str:
    names = _descriptors(symbol)
    if not names:
        raise ValueError(f"{symbol[:200]!r} is no symbol")
    return names[-1].rpartition(".")[2] if symbol.endswith("__init__:") else names[-1]


@lru_cache(maxsize=10_000)
def _qualified(symbol: str) -> str:
    return ".".join(_descriptors(symbol))


def _descriptors(symbol: str) -> list[str]:
    """Return the names of the descriptors at the end of `symbol`, from the outermost in."""
    backwards = symbol[::-1]
    names: list[str] = []
    at = 0
    while found := _LAST_DESCRIPTOR.match(backwards, at):
        quoted, plain = found.groups("")
        names.append(plain[::-1] or quoted[::-1].replace("``", "`"))
        at = found.end()
    # scip-python's `a.b`/__init__: is what source code imports as b.
    return names[:0:-1] if symbol.endswith("__init__:") and len(names) > 1 else names[::-1]


def _document_class() -> Any:  # noqa: ANN401 (made at run time, so that it has no type)
    """Build the class that decodes a Document, of the few fields that are needed here."""
    text, number, message = (
        FieldDescriptorProto.TYPE_STRING,
        FieldDescriptorProto.TYPE_INT32,
        FieldDescriptorProto.TYPE_MESSAGE,
    )
    one, many = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED
    file = FileDescriptorProto(name="scip.proto", package="scip", syntax="proto3")
    document = file.message_type.add(name="Document").field
    document.add(name="relative_path", number=1, type=text, label=one)
    document.add(
        name="occurrences", number=2, type=message, label=many, type_name=".scip.Occurrence"
    )
    occurrence = file.message_type.add(name="Occurrence").field
    occurrence.add(name="range", number=1, type=number, label=many)
    occurrence.add(name="symbol", number=2, type=text, label=one)
    occurrence.add(name="symbol_roles", number=3, type=number, label=one)
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("scip.Document"))


_DOCUMENT = _document_class()
