"""Tests of the column layout: shared width and exact cell width."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.content import Content

from sealyard_tui.screens.access.screen import AccessScreen
from sealyard_tui.screens.approvals.row import COLUMNS as APPROVALS_COLUMNS
from sealyard_tui.screens.audit.entry_format import create_columns
from sealyard_tui.screens.dashboard.columns import COLUMNS as DASHBOARD_COLUMNS
from sealyard_tui.screens.devices.screen import DevicesScreen
from sealyard_tui.widgets.columns import GUTTER, Cell, Column, ColumnLayout, column_widths, fit_cells
from sealyard_tui.widgets.sort_order import SortOrder

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


RANKED_COLUMNS = (
    Column(key="name", title="NAME", width=20, min_width=10, max_width=30, grow=1),
    Column(key="size", title="SIZE", width=8, give_way=1),
    Column(key="age", title="AGE", width=6, min_width=4, give_way=2),
    Column(key="reason", title="REASON", width=20, min_width=15, grow=1),
)


@pytest.mark.parametrize(
    ("available", "widths"),
    [
        (58, (20, 8, 6, 20)),
        (50, (19, 8, 4, 15)),
        (41, (10, 8, 4, 15)),
        (39, (17, 0, 4, 15)),
        (31, (14, 0, 0, 15)),
        (90, (30, 8, 6, 42)),
    ],
)
def test_columns_shrink_then_vanish_in_order(available: int, widths: tuple[int, ...]) -> None:
    assert column_widths(RANKED_COLUMNS, available, available) == widths


def test_hidden_column_leaves_its_width_to_others() -> None:
    assert column_widths(RANKED_COLUMNS, 58, 58, {"age"}) == (23, 8, 0, 23)


@pytest.mark.parametrize("total", [60, 80, 100, 120, 160, 200])
@pytest.mark.parametrize(
    ("columns", "most_useful"),
    [
        (DASHBOARD_COLUMNS, {"status": 11, "name": 12, "result": 16}),
        (APPROVALS_COLUMNS, {"name": 13, "you": 11}),
        (create_columns(None), {"time": 14, "message": 18}),
        (DevicesScreen.COLUMNS, {"name": 14}),
        (AccessScreen.COLUMNS, {"subject": 14, "target": 14}),
    ],
)
def test_most_useful_columns_keep_their_text(
    columns: tuple[Column, ...], most_useful: dict[str, int], total: int
) -> None:
    widths = column_widths(columns, total - 3, total)
    assert sum(width + GUTTER for width in widths if width) <= total - 3
    width_by_key = {column.key: width for column, width in zip(columns, widths, strict=True) if width}
    assert {key: width_by_key[key] for key, width in most_useful.items() if width_by_key.get(key, 0) < width} == {}


def test_title_shows_sort_direction() -> None:
    layout = ColumnLayout((Column(key="age", title="AGE", width=4), Column(key="name", title="NAME", width=4)))
    layout.order = SortOrder(column="age")
    assert [str(each) for each in layout.titles(10, 10)] == ["AGE▲", " ", "NAME", " "]
    layout.order = SortOrder(column="name", descending=True)
    assert [str(each) for each in layout.titles(10, 10)] == ["AGE ", " ", "NAM▼", " "]


def test_column_at_position() -> None:
    layout = ColumnLayout(RANKED_COLUMNS)
    layout.hidden = frozenset({"size"})
    found = [layout.column_at(x, 49, 49) for x in (-1, 0, 19, 20, 21, 26, 28)]
    assert [each.key if each else None for each in found] == [None, "name", "name", None, "age", "age", "reason"]
