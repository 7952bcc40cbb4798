"""What was told is not told again for an hour, and remembering it stays small."""

from __future__ import annotations

import pytest
from fake_clock import FakeClock

from sealyard.engine import lately as lately_module
from sealyard.engine.lately import REPEAT_AFTER, TTLCache


def test_what_was_told_is_news_again_after_an_hour() -> None:
    clock = FakeClock()
    lately = TTLCache(clock)
    assert not lately.__contains__("a")
    lately.__setitem__("a")
    clock.move(seconds=REPEAT_AFTER.total_seconds() - 1)
    assert (lately.__contains__("a"), lately.__contains__("b")) == (True, False)
    clock.move(seconds=1)
    assert not lately.__contains__("a")


def test_what_was_told_longest_ago_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lately_module, "MAX_ENTRIES", 2)
    lately = TTLCache(FakeClock())
    for each in ("a", "b", "a", "c"):
        lately.__setitem__(each)
    assert [each for each in ("a", "b", "c") if lately.__contains__(each)] == ["a", "c"]
