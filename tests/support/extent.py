"""The extent of tests that have no natural end: storms, fuzzing, matrices and schedules.

A normal run makes a share of them. With ``SEALYARD_FULL=1``, the tests run in full, which takes hours.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import product
from typing import TypeVar

from hypothesis import HealthCheck, settings

T = TypeVar("T")
U = TypeVar("U")

IS_FULL = os.environ.get("SEALYARD_FULL") == "1"
FULL_EXAMPLES = 20
"""By what the number of examples of a property is multiplied in full."""

NORMAL_DIVISOR = 2
"""By what it is divided in a normal run, which generates the same examples each time."""


def choose_count(*, share: int, full: int) -> int:
    """Return how many kills, schedules or rounds a test makes."""
    return full if IS_FULL else share


def choose_cases(cases: Sequence[T], *, share: int) -> list[T]:
    """Return the cases of a matrix that a test tries: ``share`` of them, evenly spread, or all in full."""
    if IS_FULL or share >= len(cases):
        return list(cases)
    return [cases[number * len(cases) // share] for number in range(share)]


def choose_pairs(rows: Sequence[T], columns: Sequence[U]) -> list[tuple[T, U]]:
    """Return the cells of a matrix that a test tries: each row and each column at least once, or all in full."""
    if IS_FULL:
        return list(product(rows, columns))
    count = max(len(rows), len(columns))
    return [(rows[number % len(rows)], columns[number % len(columns)]) for number in range(count)]


def scale_examples(count: int) -> int:
    """Return the number of examples that Hypothesis generates for a property: ``count`` is divided in a normal run."""
    return count * FULL_EXAMPLES if IS_FULL else max(1, count // NORMAL_DIVISOR)


def load_hypothesis_profile() -> None:
    """Set the defaults of all properties.

    A normal run generates the same examples each time, so that no change fails by chance; a full run explores. Neither
    depends on the speed of the machine.
    """
    slow = [HealthCheck.too_slow]
    settings.register_profile(
        "share", max_examples=scale_examples(100), derandomize=True, deadline=None, suppress_health_check=slow
    )
    settings.register_profile("full", max_examples=scale_examples(100), deadline=None, suppress_health_check=slow)
    settings.load_profile("full" if IS_FULL else "share")
