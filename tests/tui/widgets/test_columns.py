"""Tests of the column layout: shared width and exact cell width."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.content import Content

from sealyard_tui.widgets.columns import GUTTER, Cell, Column, column_widths, fit_cells

COLUMNS = (
    Column(title="NAME", width=8, grow=3),
    Column(title="WHO", width=4, grow=1, from_width=60),
    Column(title="SIZE", width=7, right=True),
    Column(title="SHORT", width=3, below_width=100),
)
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cf"]), max_size=30)


def test_extra_width_is_shared_by_growing_columns() -> None:
    assert column_widths(COLUMNS, 118, 120) == (8 + 96 * 3 // 4, 4 + 96 // 4, 7, 0)


def test_column_without_space_is_omitted() -> None:
    assert column_widths(COLUMNS, 38, 40)[1] == 0
    assert fit_cells(COLUMNS, ("a", "b", "c", "d"), (2, 0, 2, 0)) == [Content("a "), " ", Content(" c"), " "]


@given(st.integers(30, 300))
def test_columns_never_exceed_available_width(available: int) -> None:
    widths = column_widths(COLUMNS, available, available + 2)
    assert sum(widths) + GUTTER * sum(each > 0 for each in widths) <= available


@given(st.lists(st.one_of(TEXTS, TEXTS.map(Content)), min_size=4, max_size=4), st.integers(30, 200))
def test_any_text_fills_column_exactly(cells: list[Cell], available: int) -> None:
    widths = column_widths(COLUMNS, available, available)
    parts = fit_cells(COLUMNS, cells, widths)
    filled = [each.cell_length if isinstance(each, Content) else cell_len(each) for each in parts]
    assert filled == [width for each in widths if each for width in (each, GUTTER)]
