from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta

import pytest
from codeintel.context import ApplicationContext, Capabilities, age_seconds

Index = Callable[..., object]


def test_text_is_off_with_a_reason_until_an_index_opens(
    context: ApplicationContext, index: Index
) -> None:
    before = Capabilities.of(context)
    assert not before.text.on
    assert before.text.reason
    index({"a.py": "1"}, "main")
    after = Capabilities.of(context)
    assert after.text.on
    assert after.text.reason is None


def test_symbols_come_with_a_file_that_a_grammar_fits(
    context: ApplicationContext, index: Index
) -> None:
    index({"a.md": "text"}, "main")
    before = Capabilities.of(context)
    assert [name for name, capability in before if capability.on] == ["text"]
    assert all(capability.reason for _, capability in before if not capability.on)
    assert "--scip FILE" in (before.scip.reason or "")
    index({"a.py": "def f(): pass"}, "other")
    after = Capabilities.of(context)
    assert [name for name, capability in after if capability.on] == [
        "text",
        "symbols",
        "references",
    ]
    assert after.stamp() != before.stamp()


def test_an_age_is_in_seconds_and_never_negative(context: ApplicationContext, index: Index) -> None:
    index({"a.py": "1"}, "main")
    info = context.indexes.scan().ready["main"]
    for hours, age in ((-2, 7200), (2, 0)):
        built = datetime.now(UTC) + timedelta(hours=hours)
        shifted = replace(info, indexed_at=built.isoformat(timespec="seconds"))
        assert age <= age_seconds(shifted) < age + 60


def test_the_stamp_changes_exactly_with_the_content(
    context: ApplicationContext, index: Index
) -> None:
    stamps = [Capabilities.of(context).stamp()]
    for text in ("1", "1", "2"):
        index({"a.py": text}, "main")
        stamps.append(Capabilities.of(context).stamp())
    assert stamps[1] == stamps[2]
    assert len(set(stamps)) == 3


def test_capabilities_are_frozen(context: ApplicationContext) -> None:
    with pytest.raises(FrozenInstanceError):
        Capabilities.of(context).version = "9"  # type: ignore[misc]  # what must not work
