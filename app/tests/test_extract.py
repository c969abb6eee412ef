import time
from pathlib import Path

import pytest
from codeintel.extract import MAX_CHUNK, extract
from codeintel.languages import GRAMMARS

PROGRAMS = {
    "bash": ("build() {\n  echo hi\n}\nbuild\n", {"function build 1-3"}, {"build": "call"}),
    "c": (
        "#define MAX 3\nstruct point { int x; };\nint add(int a)\n{\n  return twice(a);\n}\n",
        {"macro MAX 1-1", "class point 2-2", "function add 3-6"},
        {"twice": "call"},
    ),
    "cpp": (
        "namespace geo {\nclass Point {\n  int area() { return side(); }\n};\n}\n",
        {"module geo 1-5", "class geo.Point 2-4", "method geo.Point.area 3-3"},
        {"side": "call"},
    ),
    "csharp": (
        "using Things;\nclass Shop {\n  int Price { get; }\n  void Sell() { Pay(); }\n}\n",
        {"class Shop 2-5", "field Shop.Price 3-3", "method Shop.Sell 4-4"},
        {"Things": "import", "Pay": "call"},
    ),
    "go": (
        "package a\nconst Max = 1\ntype Shop struct{}\nfunc (s Shop) Sell() {\n\tpay()\n}\n",
        {"constant Max 2-2", "type Shop 3-3", "method Sell 4-6"},
        {"pay": "call"},
    ),
    "java": (
        "import a.Thing;\nclass Shop {\n  Shop() {}\n  void sell() { pay(); }\n}\n",
        {"class Shop 2-5", "method Shop.Shop 3-3", "method Shop.sell 4-4"},
        {"Thing": "import", "pay": "call"},
    ),
    "javascript": (
        "import { pay } from 'a';\nconst LIMIT = 1;\nconst run = () => pay();\n"
        "class Shop {\n  sell() {\n  }\n}\n",
        {"constant LIMIT 2-2", "function run 3-3", "class Shop 4-7", "method Shop.sell 5-6"},
        {"pay": "import call"},
    ),
    "php": (
        "<?php\nuse A\\Thing;\nclass Shop {\n  function sell() { $this->pay(); }\n}\n",
        {"class Shop 3-5", "method Shop.sell 4-4"},
        {"Thing": "import", "pay": "call"},
    ),
    "python": (
        "from a import pay as p, b\nLIMIT = 1\n\n@wrap\nclass Shop:\n    def sell(self):\n"
        "        def inner(): ...\n        return pay()\n",
        {
            "constant LIMIT 2-2",
            "class Shop 5-8",
            "method Shop.sell 6-8",
            "function Shop.sell.inner 7-7",
        },
        {"pay": "import call", "b": "import"},
    ),
    "ruby": (
        "module Geo\n  class Shop\n    def sell\n      till.pay(1)\n    end\n  end\nend\n",
        {"module Geo 1-7", "class Geo.Shop 2-6", "method Geo.Shop.sell 3-5"},
        {"pay": "call"},
    ),
    "rust": (
        "use a::Thing;\nconst MAX: u8 = 1;\nstruct Shop;\nimpl Shop {\n  fn sell() { pay(); }\n}\n",
        {"constant MAX 2-2", "class Shop 3-3", "method sell 5-5"},
        {"Thing": "import", "pay": "call"},
    ),
    "tsx": (
        "export function App() {\n  return <p>{pay()}</p>;\n}\n",
        {"function App 1-3"},
        {"pay": "call"},
    ),
    "typescript": (
        "export interface Shop {\n  sell(): void;\n}\ntype Id = string;\nenum Kind { A }\n",
        {"interface Shop 1-3", "method Shop.sell 2-2", "type Id 4-4", "enum Kind 5-5"},
        {},
    ),
}


@pytest.mark.parametrize("language", GRAMMARS)
def test_definitions_and_uses(language: str) -> None:
    text, definitions, uses = PROGRAMS[language]
    found = extract(language, text.encode())
    assert {f"{d.kind} {d.qualified} {d.line}-{d.end_line}" for d in found.definitions} == (
        definitions
    )
    kinds: dict[str, str] = {}
    for name, kind in found.uses:
        kinds[name] = f"{kind} {kinds[name]}" if name in kinds else kind
    assert {name: kinds.get(name) for name in uses} == uses


def test_a_signature_is_the_line_of_the_name() -> None:
    text = "@decorated\nclass A:\n    async def run(self, *, x=1):\n        pass\n"
    first, second = extract("python", text.encode()).definitions
    assert (first.first, first.line, first.signature) == (1, 2, "class A:")
    assert (second.line, second.signature) == (3, "async def run(self, *, x=1):")


def test_every_use_has_its_line_once() -> None:
    found = extract("python", b"f(f(1))\nx = 1\nf(2)\n")
    assert found.uses == {("f", "call"): [1, 3]}


def test_chunks_follow_definitions() -> None:
    text = """import os

# What A is for.
@decorated
class A:
    x = 1

    def one(self):
        def inner(): ...

    def two(self):
        pass

    y = 2


def after():
    pass


print(after())
"""
    assert extract("python", text.encode()).chunks == [
        (1, 2, None),
        (3, 7, "A"),
        (8, 9, "A.one"),
        (11, 12, "A.two"),
        (13, 14, "A"),
        (17, 18, "after"),
        (19, 21, None),
    ]


def test_long_chunks_are_cut() -> None:
    assert extract(None, b"x\n" * (2 * MAX_CHUNK + 1)).chunks == [
        (1, MAX_CHUNK, None),
        (MAX_CHUNK + 1, 2 * MAX_CHUNK, None),
        (2 * MAX_CHUNK + 1, 2 * MAX_CHUNK + 1, None),
    ]


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_nothing_is_no_chunk(text: str) -> None:
    assert extract("python", text.encode()).chunks == []


def test_data_is_not_ranked() -> None:
    assert extract("gettext", b'msgid "a"\n').chunks == []


@pytest.mark.parametrize("language", GRAMMARS)
def test_broken_programs_do_no_harm(language: str) -> None:
    text = PROGRAMS[language][0]
    for end in range(len(text)):
        found = extract(language, text[:end].encode())
        covered = [line for first, last, _ in found.chunks for line in range(first, last + 1)]
        assert len(covered) == len(set(covered))


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("c", "{" * 200_000),
        ("cpp", "a<" * 200_000),
        ("python", "a" + ".a_name_of_thirty_characters_00()" * 10_000),
        ("go", "({" * 200_000),
    ],
)
def test_what_would_take_minutes_is_text_alone(language: str, text: str) -> None:
    """A twentieth of this took each of them longer than a whole repository."""
    began = time.process_time()
    found = extract(language, f"{text}\n".encode())
    assert time.process_time() - began < 10
    assert (found.definitions, found.uses) == ([], {})
    assert found.chunks == [(1, 1, None)]


def test_a_parser_has_a_budget() -> None:
    """Which data with a token in every byte is over, though its tree is a plain one."""
    for items, known in ((5_000, ["x"]), (100_000, [])):
        found = extract("python", b"x=[" + b"1," * items + b"]\n")
        assert [one.name for one in found.definitions] == known


def test_data_and_long_chains_keep_their_definitions() -> None:
    table = "TABLE = [" + "1234, " * 100_000 + "]\n"
    chain = "def build(q):\n    return q" + ".filter(1)" * 300 + "\n"
    found = extract("python", f"{table}{chain}".encode())
    assert [one.name for one in found.definitions] == ["TABLE", "build"]
    assert ("filter", "call") in found.uses


def test_this_package_is_understood() -> None:
    content = Path(extract.__code__.co_filename).read_bytes()
    names = {definition.qualified for definition in extract("python", content).definitions}
    assert {"extract", "Definition", "Definition.qualified", "MAX_CHUNK"} <= names
