"""Tests of the virtual table: drawing, cursor, marks and columns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.content import Content
from textual.events import MouseScrollDown
from textual.geometry import Region
from textual.pilot import Pilot

from sealyard_tui.widgets.columns import Cell, Column
from sealyard_tui.widgets.pane_title import set_pane_title
from sealyard_tui.widgets.virtual_table import VirtualTable
from tests.support.extent import scale_examples

Line = tuple[str, str]
"""Key and name."""

COLUMNS = (
    Column(title="NAME", width=10, grow=1),
    Column(title="WIDE", width=6, from_width=60),
    Column(title="SIZE", width=5, right=True),
)


class TableApp(App[None]):
    """A table, and the events that it posted."""

    def __init__(self, rows: list[Line], *, markable: bool = True) -> None:
        super().__init__()
        self._rows = rows
        self._markable = markable
        self.drawn: list[str] = []
        self.events: list[Any] = []

    def compose(self) -> ComposeResult:
        yield VirtualTable[Line](
            COLUMNS, self._cells, key=lambda row: row[0], markable=self._markable, empty="Nothing yet."
        )

    def _cells(self, row: Line) -> tuple[Cell, ...]:
        self.drawn.append(row[0])
        return (row[1], "w", Content.styled("5 B", "red"))

    def on_mount(self) -> None:
        self.table.replace(self._rows)
        self.table.focus()

    @property
    def table(self) -> VirtualTable[Line]:
        return self.query_one(VirtualTable)

    def on_virtual_table_row_highlighted(self, event: VirtualTable.RowHighlighted) -> None:
        self.events.append(("highlighted", event.key))

    def on_virtual_table_row_activated(self, event: VirtualTable.RowActivated) -> None:
        self.events.append(("activated", event.key))

    def on_virtual_table_near_end(self, event: VirtualTable.NearEnd) -> None:
        self.events.append(("near end", event.last))

    def on_virtual_table_marks_changed(self) -> None:
        self.events.append(("marks", None))

    @property
    def highlighted(self) -> str | None:
        """The row that was told last."""
        found: list[str | None] = [key for kind, key in self.events if kind == "highlighted"]
        return found[-1] if found else None

    def lines(self) -> list[str]:
        """What the table shows, without colours."""
        table = self.table
        return ["".join(part.text for part in table.render_line(y)) for y in range(table.size.height)]


def make_rows(count: int) -> list[Line]:
    return [(f"k{number}", f"name {number}") for number in range(count)]


@asynccontextmanager
async def run_table(
    table_rows: list[Line], size: tuple[int, int] = (80, 24), *, markable: bool = True
) -> AsyncIterator[tuple[TableApp, Pilot[None]]]:
    app = TableApp(table_rows, markable=markable)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield app, pilot


def list_marked(app: TableApp) -> list[str]:
    return [key for key, _ in app.table.marked_rows]


# ---- drawing


async def test_only_visible_rows_are_drawn() -> None:
    async with run_table(make_rows(100_000)) as (app, pilot):
        assert set(app.drawn) <= {f"k{number}" for number in range(24)}
        app.drawn.clear()
        await pilot.press("G")
        await pilot.pause()
        assert set(app.drawn) <= {f"k{number}" for number in (*range(24), *range(99_976, 100_000))}
        assert "name 99999" in app.lines()[-1]


async def test_cursor_move_redraws_two_rows() -> None:
    async with run_table(make_rows(100_000)) as (app, pilot):
        app.drawn.clear()
        await pilot.press("j")
        await pilot.pause()
        assert set(app.drawn) <= {"k0", "k1"}


async def test_header_stays_while_rows_scroll() -> None:
    async with run_table(make_rows(500)) as (app, pilot):
        await pilot.press("G")
        await pilot.pause()
        assert "NAME" in app.lines()[0]
        assert "name 499" in app.lines()[-1]


async def test_cursor_and_marks_have_symbols() -> None:
    async with run_table(make_rows(3)) as (app, pilot):
        await pilot.press("space")
        lines = app.lines()
        assert lines[1].startswith(" ●name 0")
        assert lines[2].startswith("▶ name 1")


async def test_empty_text_wraps_to_table_width() -> None:
    async with run_table([], (40, 10)) as (app, _):
        assert app.lines()[3].strip() == "Nothing yet."
        app.table.set_empty_text("Nothing here.\nThis sentence is longer than a line of the table.")
        lines = [line.strip() for line in app.lines()]
        assert lines[:6] == ["", "", "Nothing here.", "This sentence is longer than a line of", "the table.", ""]


async def test_title_repaints_only_the_border() -> None:
    async with run_table(make_rows(3), (40, 10)) as (app, pilot):
        app.table.styles.border_top = ("solid", "white")
        await pilot.pause()
        set_pane_title(app.table, "3 rows", "updated 1 s ago", "")
        await pilot.pause()
        app.drawn.clear()
        set_pane_title(app.table, "3 rows", "updated 2 s ago", "")
        assert app.table._repaint_regions == {Region(0, 0, 40, 1)}
        await pilot.pause()
        assert app.drawn == []
        text = "".join(part.text for part in app.screen._compositor.render_strips()[0])
        assert " 3 rows · updated 2 s ago " in text


async def test_only_rows_are_repainted_when_ages_change() -> None:
    async with run_table(make_rows(3), (40, 10)) as (app, pilot):
        app.table.refresh_rows()
        assert app.table._repaint_regions == {Region(0, 1, 40, 3)}
        app.table.replace(())
        await pilot.pause()
        app.table.refresh_rows()
        app.table.set_empty_text("Nothing yet.")
        assert not app.table._repaint_regions


async def test_narrow_table_omits_optional_column() -> None:
    async with run_table(make_rows(3), (80, 24)) as (app, pilot):
        assert "WIDE" in app.lines()[0]
        await pilot.resize_terminal(50, 24)
        await pilot.pause()
        assert "WIDE" not in app.lines()[0]
        assert "SIZE" in app.lines()[0]


async def test_extra_width_goes_to_growing_column() -> None:
    async with run_table([("k", "n" * 200)], (100, 10)) as (app, _):
        line = app.lines()[1]
        assert line.count("n") > 70
        assert "…" in line
        assert cell_len(line.rstrip()) <= 100


NAMES = [
    "測試測試測試測試測試測試",
    "🚀🔥" * 9,
    "e\u0301" * 9,
    "👩\u200d🚀 crew",
    "ｆｕｌｌ ｗｉｄｔｈ",
    "名",
    "[bold red]x[/]",
    "\U0001f1e9\U0001f1ea flag",
]


@pytest.mark.parametrize("width", [30, 31, 33, 80])
async def test_wide_characters_keep_columns_aligned(width: int) -> None:
    table_rows = [(str(number), name) for number, name in enumerate(NAMES)]
    async with run_table(table_rows, (width, 20)) as (app, _):
        lines = app.lines()
        assert {cell_len(line) for line in lines} == {width}
        for line in lines[1 : len(NAMES) + 1]:
            assert cell_len(line[: line.index("5 B")]) == cell_len(lines[0][: lines[0].index("SIZE") + 1]), line


# ---- keys and mouse


@pytest.mark.parametrize(
    ("keys", "index"),
    [
        (["j", "j", "k"], 1),
        (["down", "down", "up"], 1),
        (["G"], 199),
        (["end", "g"], 0),
        (["end", "home"], 0),
        (["ctrl+d"], 12),
        (["ctrl+d", "ctrl+u"], 0),
        (["pagedown"], 23),
        (["pagedown", "pagedown", "pageup"], 23),
        (["ctrl+f", "ctrl+b"], 0),
        (["k"], 0),
        (["G", "j", "ctrl+d", "pagedown"], 199),
    ],
)
async def test_keys_move_cursor_within_view(keys: list[str], index: int) -> None:
    async with run_table(make_rows(200)) as (app, pilot):
        await pilot.press(*keys)
        await pilot.pause()
        assert app.table.cursor == index
        assert app.table.cursor_key == f"k{index}"
        assert app.highlighted == f"k{index}"
        assert 1 <= app.table.region_of_cursor().y < 24


async def test_click_selects_and_double_click_activates() -> None:
    async with run_table(make_rows(50)) as (app, pilot):
        await pilot.click(VirtualTable, offset=(5, 4))
        assert app.table.cursor_key == "k3"
        assert ("activated", "k3") not in app.events
        await pilot.double_click(VirtualTable, offset=(5, 4))
        assert ("activated", "k3") in app.events


async def test_click_after_scrolling_selects_visible_row() -> None:
    async with run_table(make_rows(500)) as (app, pilot):
        await pilot.press("G")
        await pilot.pause()
        await pilot.click(VirtualTable, offset=(5, 1))
        assert app.table.cursor_key == "k477"


async def test_clicks_outside_rows_are_ignored() -> None:
    async with run_table(make_rows(3)) as (app, pilot):
        await pilot.click(VirtualTable, offset=(5, 0))
        await pilot.click(VirtualTable, offset=(5, 15))
        assert app.table.cursor_key == "k0"


async def test_wheel_scrolls_without_moving_cursor() -> None:
    async with run_table(make_rows(500)) as (app, pilot):
        for _ in range(3):
            await pilot._post_mouse_events([MouseScrollDown], VirtualTable, offset=(5, 5))
        await pilot.pause()
        assert app.table.scroll_offset.y > 0
        assert app.table.cursor_key == "k0"


async def test_enter_activates_row() -> None:
    async with run_table(make_rows(3)) as (app, pilot):
        await pilot.press("j", "enter")
        assert app.events[-1] == ("activated", "k1")


async def test_empty_table_ignores_keys() -> None:
    async with run_table([]) as (app, pilot):
        await pilot.press("j", "k", "G", "g", "enter", "space", "v", "ctrl+d", "pageup")
        assert app.table.cursor == 0
        assert app.table.cursor_key is None
        assert not app.table.selected_rows


async def test_near_end_is_posted_before_end() -> None:
    async with run_table(make_rows(500)) as (app, pilot):
        await pilot.press("pagedown")
        assert not any(kind == "near end" for kind, _ in app.events)
        await pilot.press("G")
        assert ("near end", True) in app.events


# ---- marks


async def test_space_toggles_mark_and_moves_down() -> None:
    async with run_table(make_rows(5)) as (app, pilot):
        await pilot.press("space", "space")
        assert list_marked(app) == ["k0", "k1"]
        assert app.table.cursor_key == "k2"
        await pilot.press("k", "space")
        assert list_marked(app) == ["k0"]
        assert ("marks", None) in app.events


async def test_v_marks_range_from_last_mark() -> None:
    async with run_table(make_rows(9)) as (app, pilot):
        await pilot.press("j", "space", "j", "j", "v")
        assert list_marked(app) == ["k1", "k2", "k3", "k4"]


async def test_v_marks_upwards_or_single_row() -> None:
    async with run_table(make_rows(9)) as (app, pilot):
        await pilot.press("G", "v", "k", "k", "v")
        assert set(list_marked(app)) == {"k8", "k7", "k6"}


async def test_selected_rows_are_marks_or_cursor_row() -> None:
    async with run_table(make_rows(5)) as (app, pilot):
        assert app.table.selected_rows == [("k0", "name 0")]
        await pilot.press("j", "space", "space")
        assert [key for key, _ in app.table.selected_rows] == ["k1", "k2"]
        assert app.table.clear_marks()
        assert not app.table.clear_marks()


async def test_removed_row_loses_mark() -> None:
    async with run_table(make_rows(5)) as (app, pilot):
        await pilot.press("space", "space")
        app.table.remove_row("k0")
        assert list_marked(app) == ["k1"]
        app.table.replace(make_rows(1))
        assert list_marked(app) == []


async def test_unmarkable_table_marks_nothing() -> None:
    async with run_table(make_rows(5), markable=False) as (app, pilot):
        await pilot.press("space", "v")
        app.table.mark_all()
        assert list_marked(app) == []
        assert app.table.cursor_key == "k0"


# ---- cursor


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda table: table.replace(list(reversed(make_rows(100)))), "k50"),
        (lambda table: table.insert_first(("new", "new"), ("newer", "newer")), "k50"),
        (lambda table: table.insert(3, ("new", "new")), "k50"),
        (lambda table: table.insert(0, ("k50", "moved")), "k50"),
        (lambda table: table.extend(make_rows(300)), "k50"),
        (lambda table: table.remove_row("k3"), "k50"),
        (lambda table: table.update_row(("k50", "other")), "k50"),
        (lambda table: table.remove_row("k50"), "k51"),
        (lambda table: table.replace(row for row in make_rows(100) if row[0] != "k50"), "k51"),
        (lambda table: table.replace(make_rows(20)), "k19"),
        (lambda table: table.replace(()), None),
    ],
)
async def test_cursor_follows_row_or_selects_neighbour(
    change: Callable[[VirtualTable[Line]], None], key: str | None
) -> None:
    async with run_table(make_rows(100)) as (app, pilot):
        app.table.move_cursor_to("k50")
        change(app.table)
        await pilot.pause()
        assert app.table.cursor_key == key
        assert app.highlighted == key


async def test_insertion_above_keeps_cursor_position() -> None:
    async with run_table(make_rows(500)) as (app, pilot):
        app.table.move_cursor_to("k200")
        await pilot.pause()
        before = app.table.region_of_cursor()
        for number in range(20):
            app.table.insert_first((f"new{number}", "new"))
            await pilot.pause()
        assert app.table.cursor_key == "k200"
        assert app.table.region_of_cursor() == before


async def test_move_to_unknown_row_returns_false() -> None:
    async with run_table(make_rows(5)) as (app, _):
        assert not app.table.move_cursor_to("nobody")
        assert app.table.cursor_key == "k0"


row_keys = st.sampled_from([f"k{number}" for number in range(12)])
table_changes = st.one_of(
    st.tuples(st.just("replace"), st.lists(row_keys, unique=True, max_size=12)),
    st.tuples(st.just("insert_first"), row_keys),
    st.tuples(st.just("insert"), st.tuples(st.integers(0, 12), row_keys)),
    st.tuples(st.just("extend"), st.lists(row_keys, max_size=5)),
    st.tuples(st.just("remove_row"), row_keys),
    st.tuples(st.just("update_row"), row_keys),
    st.tuples(st.just("move"), st.integers(-14, 14)),
    st.tuples(st.just("mark"), st.booleans()),
)


@given(st.lists(table_changes, max_size=40))
@settings(max_examples=scale_examples(150), deadline=None)
def test_any_changes_keep_cursor_on_row(steps: list[tuple[str, Any]]) -> None:
    table = VirtualTable[Line](COLUMNS, lambda row: (row[1], "", ""), key=lambda row: row[0], markable=True)
    model: list[str] = []
    for step, argument in steps:
        key, position = table.cursor_key, table.cursor
        _apply_change(table, step, argument)
        model = _expected_keys(model, step, argument)
        assert [each for each, _ in table.rows] == model
        assert 0 <= table.cursor <= max(0, len(model) - 1)
        assert (table.cursor_key is None) is (not model)
        assert set(marked_keys(table)) <= set(model)
        if step in ("move", "mark"):
            continue
        if key in model:
            assert table.cursor_key == key
        elif model:
            assert table.cursor == min(position, len(model) - 1)


def marked_keys(table: VirtualTable[Line]) -> list[str]:
    return [key for key, _ in table.marked_rows]


def _apply_change(table: VirtualTable[Line], step: str, argument: Any) -> None:
    if step in ("replace", "extend"):
        getattr(table, step)([(key, step) for key in argument])
    elif step == "insert":
        position, key = argument
        others = len(table) - (key in table)
        table.insert(min(position, others), (key, step))
    elif step == "remove_row":
        table.remove_row(argument)
    elif step == "move":
        table.action_move(argument)
    elif step == "mark":
        table.action_mark_range() if argument else table.action_mark()
    else:
        getattr(table, step)((argument, step))


def _expected_keys(model: list[str], step: str, argument: Any) -> list[str]:
    match step:
        case "replace":
            return list(argument)
        case "insert_first":
            return model if argument in model else [argument, *model]
        case "insert":
            position, key = argument
            others = [each for each in model if each != key]
            return [*others[:position], key, *others[position:]]
        case "extend":
            return [*model, *dict.fromkeys(each for each in argument if each not in model)]
        case "remove_row":
            return [each for each in model if each != argument]
    return model
