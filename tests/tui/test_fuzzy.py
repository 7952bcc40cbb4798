"""Tests of the fuzzy search."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard_tui.fuzzy import MAX_GAP, find_matches, is_similar

NAMES = ["gateway", "sensor hub", "demo-gateway", "gate way"]


@pytest.mark.parametrize(
    ("text", "names", "similar"),
    [
        ("GATEWAY", ["gateway", "demo-gateway"], False),
        ("gtway", ["gateway", "demo-gateway", "gate way"], True),
        ("snsr hub", ["sensor hub"], True),
        ("gt", [], False),
        ("xyz", [], False),
        ("", NAMES, False),
    ],
)
def test_similar_items_are_found_only_without_exact_match(text: str, names: list[str], similar: bool) -> None:
    matches, is_only_similar = find_matches(NAMES, text, str.casefold)
    assert (sorted(matches), is_only_similar) == (sorted(names), similar)
    assert not similar or matches[0] == names[0]


@given(st.text(min_size=3, max_size=10), st.text(max_size=MAX_GAP))
def test_text_with_small_gaps_is_similar(word: str, gap: str) -> None:
    word = word.casefold()
    separator = "".join(char for char in gap if char not in word)
    assert len(word) < 3 or is_similar(word, f"x{separator.join(word)}y")


def test_repeated_characters_do_not_slow_down_search() -> None:
    start = time.process_time()
    assert not is_similar("a" * 60 + "b", "a" * 5000)
    assert time.process_time() - start < 1
