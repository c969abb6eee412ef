from collections.abc import Callable
from dataclasses import FrozenInstanceError

import pytest
from codeintel.context import ApplicationContext, Capabilities

Index = Callable[..., object]


def test_text_is_off_with_a_reason_until_an_index_opens(
    context: ApplicationContext, index: Index
) -> None:
    before = Capabilities.of(context)
    assert not before.has("text")
    assert before.text.reason
    index({"a.py": "1"}, "main")
    after = Capabilities.of(context)
    assert after.has("text")
    assert after.text.reason is None


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
