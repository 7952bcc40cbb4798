"""Test the parsing and formatting of durations, and the formatting of tables."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.cli.arguments import duration, seconds, timestamp
from sealyard.cli.output import format_table
from sealyard.model.formatting import format_duration


@pytest.mark.parametrize(
    ("text", "expected"), [("90s", 90), ("30m", 1800), ("24h", 86400), ("30d", 2592000), ("2w", 1209600), ("5", 5)]
)
def test_duration_units_are_parsed(text: str, expected: int) -> None:
    assert duration(text) == expected
    assert seconds(text) == expected


@given(st.text())
def test_any_text_parses_or_is_rejected(text: str) -> None:
    for parse in (duration, seconds, timestamp):
        try:
            parse(text)
        except argparse.ArgumentTypeError:
            continue


@given(st.integers(1, 59), st.sampled_from("smhd"))
def test_whole_duration_round_trips(count: int, unit: str) -> None:
    if unit == "h":
        count %= 24
    assert format_duration(duration(f"{count or 1}{unit}")) == f"{count or 1}{unit}"


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=5))
def test_table_row_is_one_printable_line(rows: list[tuple[str, str]]) -> None:
    lines = list(format_table(("A", "B"), rows, "none"))
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() for line in lines)
