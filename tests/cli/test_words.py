"""Sizes, durations and tables."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.cli.arguments import duration, moment, seconds
from sealyard.cli.text import duration_text, size_text, table


@pytest.mark.parametrize(
    ("text", "expected"), [("90s", 90), ("30m", 1800), ("24h", 86400), ("30d", 2592000), ("2w", 1209600), ("5", 5)]
)
def test_durations_are_read_with_their_unit(text: str, expected: int) -> None:
    assert duration(text) == expected
    assert seconds(text) == expected


@given(st.text())
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    for reader in (duration, seconds, moment):
        try:
            reader(text)
        except argparse.ArgumentTypeError:
            continue


@given(st.integers(1, 59), st.sampled_from("smhd"))
def test_a_whole_duration_is_written_as_it_is_read(count: int, unit: str) -> None:
    if unit == "h":
        count %= 24
    assert duration_text(duration(f"{count or 1}{unit}")) == f"{count or 1}{unit}"


def test_sizes_have_the_unit_that_fits() -> None:
    sizes = (0, 1023, 1024, 1536 * 1024, 3 << 30, 5 << 40)
    assert [size_text(each) for each in sizes] == ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "3.0 GiB", "5.0 TiB"]


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=5))
def test_a_row_stays_one_harmless_line_whatever_its_cells_hold(rows: list[tuple[str, str]]) -> None:
    lines = list(table(("A", "B"), rows, "none"))
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() for line in lines)
