"""Fuzzy search: text that contains the characters of a word in order, with few characters between them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

MIN_WORD_LENGTH = 3
"""Minimum length of a word for fuzzy search; shorter words occur in almost every text."""

MAX_GAP = 4
"""Maximum number of characters between two characters of the word."""

Item = TypeVar("Item")


def is_similar(word: str, text: str) -> bool:
    """Return whether ``text`` contains the characters of ``word`` in order. Both must be in lowercase."""
    return len(word) >= MIN_WORD_LENGTH and _pattern(word).search(text) is not None


def rank(words: Sequence[str], text: str) -> float:
    """Return how well ``text``, which must be similar to all words, matches them; a higher value is a better match.

    Matches with fewer characters between those of the word are better, and among these, those in shorter texts.
    """
    return -sum(_match_length(word, text) for word in words) - len(text) / 10_000


def _match_length(word: str, text: str) -> int:
    match = _pattern(word).search(text)
    return len(match[0]) if match is not None else len(text)


@lru_cache(maxsize=64)
def _pattern(word: str) -> re.Pattern[str]:
    """Return a pattern in which every gap ends at the next character of the word, so that it never backtracks far."""
    first, others = word[0], word[1:]
    gaps = (f"[^{re.escape(char)}]{{0,{MAX_GAP}}}{re.escape(char)}" for char in others)
    return re.compile(re.escape(first) + "".join(gaps), re.DOTALL)


def find_matches(items: Sequence[Item], text: str, get_text: Callable[[Item], str]) -> tuple[list[Item], bool]:
    """Return the items that contain all words of ``text``, or if there are none, similar items, the best match first.

    Also returns whether the items are only similar. ``get_text`` returns the searched text, in lowercase.
    """
    words = text.casefold().split()
    matches = [item for item in items if all(word in get_text(item) for word in words)]
    if matches or not words:
        return matches, False
    similar = [item for item in items if all(is_similar(word, get_text(item)) for word in words)]
    return sorted(similar, key=lambda item: -rank(words, get_text(item))), bool(similar)
