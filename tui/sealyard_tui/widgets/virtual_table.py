"""A table for lists that grow: only the lines in view are ever rendered, and the cursor stays on its row.

Textual's DataTable measures each cell of each row; at 100,000 rows that is a frozen screen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from rich.segment import Segment
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.style import Style

from sealyard_tui.widgets.columns import Cell, Column, column_widths, fit_cells

Row = TypeVar("Row")

SIGN_WIDTH = 2
"""Cells before the first column: for the cursor, and for a mark."""
LOAD_AHEAD_ROWS = 50
"""Rows before the end at which more are asked for."""


class VirtualTable(ScrollView, Generic[Row], can_focus=True):
    """Rows under unique keys. The owner gives rows; ``cells`` says what is seen of one, when it is seen."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "virtual-table--head",
        "virtual-table--cursor",
        "virtual-table--marked",
    }

    DEFAULT_CSS = """
    VirtualTable {
        height: 1fr;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        background: $surface;
        & > .virtual-table--head { text-style: bold; color: $text-muted; background: $panel; }
        & > .virtual-table--cursor { background: $panel; text-style: bold; }
        & > .virtual-table--marked { color: $accent; }
        &:focus > .virtual-table--cursor { background: $block-cursor-background; color: $block-cursor-foreground; }
        &:ansi > .virtual-table--cursor { text-style: bold underline; }
        &:ansi:focus > .virtual-table--cursor { text-style: bold; }
        &:nocolor:focus > .virtual-table--cursor { text-style: bold reverse; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False, id="table.up"),
        Binding("down,j", "move(1)", "Down", show=False, id="table.down"),
        Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False, id="table.page_up"),
        Binding("pagedown,ctrl+f", "page(1)", "Page down", show=False, id="table.page_down"),
        Binding("ctrl+u", "page(-0.5)", "Half a page up", show=False, id="table.half_up"),
        Binding("ctrl+d", "page(0.5)", "Half a page down", show=False, id="table.half_down"),
        Binding("home,g", "go_first", "First", show=False, id="table.first"),
        Binding("end,G", "go_last", "Last", show=False, id="table.last"),
        Binding("enter", "activate", "Open", show=False, id="table.open"),
        Binding("space", "mark", "Mark", show=False, id="table.mark"),
        Binding("v", "mark_range", "Mark to here", show=False, id="table.mark_range"),
    ]

    cursor: reactive[int] = reactive(0, repaint=False)
    """The row that is looked at, counted from 0."""

    class RowHighlighted(Message):
        """The cursor came to another row; ``key`` is None in an empty table."""

        def __init__(self, table: VirtualTable[Any], key: str | None) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> VirtualTable[Any]:
            return self.table

    class RowActivated(Message):
        """Enter, or a second click on the row."""

        def __init__(self, table: VirtualTable[Any], key: str) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> VirtualTable[Any]:
            return self.table

    class MarksChanged(Message):
        def __init__(self, table: VirtualTable[Any]) -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> VirtualTable[Any]:
            return self.table

    class NearEnd(Message):
        """Few rows are left below: the owner may bring more with :meth:`extend`."""

        def __init__(self, table: VirtualTable[Any], last: bool) -> None:
            """``last``: the very end was asked for."""
            super().__init__()
            self.table = table
            self.last = last

        @property
        def control(self) -> VirtualTable[Any]:
            return self.table

    def __init__(
        self,
        columns: Sequence[Column],
        cells: Callable[[Row], Sequence[Cell]],
        *,
        key: Callable[[Row], str],
        empty: str = "Nothing here.",
        markable: bool = False,
        id: str | None = None,  # noqa: A002 - Textual's name
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._columns = tuple(columns)
        self._cells = cells
        self._key = key
        self._empty = empty
        self._markable = markable
        self._keys: list[str] = []
        self._rows: dict[str, Row] = {}
        self._marks: dict[str, None] = {}
        self._range_from: str | None = None
        self._last_highlighted: str | None = None
        self._widths_for = (0, 0)
        self._widths_now: tuple[int, ...] = ()

    # ---- what is in it

    @property
    def rows(self) -> list[Row]:
        """In the order shown."""
        return [self._rows[key] for key in self._keys]

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def row(self, key: str) -> Row | None:
        return self._rows.get(key)

    def row_at(self, place: int) -> Row:
        return self._rows[self._keys[place]]

    def index_of(self, key: str) -> int | None:
        return self._keys.index(key) if key in self._rows else None

    @property
    def cursor_key(self) -> str | None:
        return self._keys[self.cursor] if self.cursor < len(self._keys) else None

    @property
    def cursor_row(self) -> Row | None:
        return self._rows[self._keys[self.cursor]] if self.cursor < len(self._keys) else None

    @property
    def marked_rows(self) -> list[Row]:
        """The marked rows that are there, in the order of marking."""
        return [self._rows[key] for key in self._marks if key in self._rows]

    @property
    def selected_rows(self) -> list[Row]:
        """What an action is about: the marked rows, else the one under the cursor."""
        row = self.cursor_row
        return self.marked_rows or ([row] if row is not None else [])

    def set_empty_text(self, text: str) -> None:
        self._empty = text
        self.refresh()

    def replace(self, rows: Iterable[Row]) -> None:
        """All rows anew; the cursor stays on its row, and where that is gone, at its place."""
        before = self.cursor_key
        self._rows = {self._key(row): row for row in rows}
        self._keys = list(self._rows)
        self._marks = {key: None for key in self._marks if key in self._rows}
        self._restore_cursor(before)

    def extend(self, rows: Iterable[Row]) -> None:
        """More rows at the end; one whose key is there already is renewed in its place."""
        before = self.cursor_key
        for row in rows:
            key = self._key(row)
            if key not in self._rows:
                self._keys.append(key)
            self._rows[key] = row
        self._restore_cursor(before)

    def insert_first(self, *rows: Row) -> None:
        """Before all others, in the order given; one whose key is there already is renewed in its place."""
        before = self.cursor_key
        given = {self._key(row): row for row in rows}
        self._keys[:0] = [key for key in given if key not in self._rows]
        self._rows.update(given)
        self._restore_cursor(before)

    def insert(self, place: int, row: Row) -> None:
        """At ``place`` among the others; one whose key is there already moves to it."""
        before = self.cursor_key
        key = self._key(row)
        if key in self._rows:
            self._keys.remove(key)
        self._keys.insert(place, key)
        self._rows[key] = row
        self._restore_cursor(before)

    def update_row(self, row: Row) -> None:
        """Another value of a row that is there."""
        key = self._key(row)
        if key in self._rows:
            self._rows[key] = row
            self.refresh()

    def remove_row(self, key: str) -> None:
        if key not in self._rows:
            return
        before = self.cursor_key
        del self._rows[key]
        self._keys.remove(key)
        self._marks.pop(key, None)
        self._restore_cursor(before)

    def move_cursor_to(self, key: str) -> bool:
        """Puts the cursor on the row; False where it is not there."""
        if key not in self._rows:
            return False
        self._move_to(self._keys.index(key))
        return True

    def clear_marks(self) -> bool:
        """Whether there were any."""
        had = bool(self._marks)
        self._marks = {}
        self._range_from = None
        if had:
            self.refresh()
            self.post_message(self.MarksChanged(self))
        return had

    def mark_all(self) -> None:
        if self._markable:
            self._marks = dict.fromkeys(self._keys)
            self.refresh()
            self.post_message(self.MarksChanged(self))

    def _restore_cursor(self, before: str | None) -> None:
        """After a change of rows: sizes, and the cursor back on the row it was on."""
        self._resize()
        if before is not None and before in self._rows:
            near = self._keys[self.cursor] if self.cursor < len(self._keys) else None
            index = self.cursor if near == before else self._keys.index(before)
        else:
            index = max(0, min(self.cursor, len(self._keys) - 1))
        shift = index - self.cursor
        self.set_reactive(VirtualTable.cursor, index)
        if shift and self.scroll_offset.y > 0:
            self.scroll_to(y=self.scroll_offset.y + shift, animate=False, immediate=True)
        self._show_cursor()
        self.refresh()
        self._tell_where()

    def _resize(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._keys) + 1)

    # ---- moving

    def _move_to(self, index: int) -> None:
        self.cursor = max(0, min(index, len(self._keys) - 1))
        self._show_cursor()
        if len(self._keys) - self.cursor < LOAD_AHEAD_ROWS:
            self.post_message(self.NearEnd(self, last=False))

    def watch_cursor(self, before: int, now: int) -> None:
        """Two lines are drawn anew; where the table scrolls too, that draws the others."""
        for index in (before, now):
            line = index - self.scroll_offset.y + 1
            if 0 < line <= self._lines_in_view:
                self.refresh(Region(0, line, self.size.width, 1))
        self._tell_where()

    def _tell_where(self) -> None:
        key = self.cursor_key
        if key != self._last_highlighted:
            self._last_highlighted = key
            self.post_message(self.RowHighlighted(self, key))

    def _show_cursor(self) -> None:
        lines = self._lines_in_view
        if lines <= 0:
            return
        top = self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, immediate=True, force=True)
        elif self.cursor >= top + lines:
            self.scroll_to(y=self.cursor - lines + 1, animate=False, immediate=True, force=True)

    @property
    def _lines_in_view(self) -> int:
        return self.scrollable_content_region.height - 1

    def action_move(self, lines: int) -> None:
        self._move_to(self.cursor + lines)

    def action_page(self, pages: float) -> None:
        self._move_to(self.cursor + round(pages * max(1, self._lines_in_view)))

    def action_go_first(self) -> None:
        self._move_to(0)

    def action_go_last(self) -> None:
        self._move_to(len(self._keys) - 1)
        self.post_message(self.NearEnd(self, last=True))

    def action_activate(self) -> None:
        if (key := self.cursor_key) is not None:
            self.post_message(self.RowActivated(self, key))

    def action_mark(self) -> None:
        """Marks or unmarks the row, and goes on to the next."""
        key = self.cursor_key
        if not self._markable or key is None:
            return
        if key in self._marks:
            del self._marks[key]
        else:
            self._marks[key] = None
        self._range_from = key
        self.post_message(self.MarksChanged(self))
        self.refresh()
        self._move_to(self.cursor + 1)

    def action_mark_range(self) -> None:
        """From the row marked last to this one."""
        if not self._markable or self.cursor_key is None:
            return
        start = self._keys.index(self._range_from) if self._range_from in self._rows else self.cursor
        low, high = sorted((start, self.cursor))
        self._marks.update(dict.fromkeys(self._keys[low : high + 1]))
        self._range_from = self.cursor_key
        self.post_message(self.MarksChanged(self))
        self.refresh()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's
        return self._markable if action in ("mark", "mark_range") else True

    async def _on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None or offset.y == 0:
            return
        index = self.scroll_offset.y + offset.y - 1
        if not 0 <= index < len(self._keys):
            return
        again = event.chain > 1 and index == self.cursor
        self._move_to(index)
        if again:
            self.action_activate()

    def on_resize(self) -> None:
        self._resize()
        self._show_cursor()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if self._keys and new_value + 2 * self._lines_in_view >= len(self._keys):
            self.post_message(self.NearEnd(self, last=False))

    # ---- drawing

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        if y == 0:
            return self._line(self._header_line(width), width, self.get_visual_style("virtual-table--head"))
        index = self.scroll_offset.y + y - 1
        if index < len(self._keys):
            return self._row_line(index, width)
        return self._line(self._empty_line(y - 1, width), width, self.visual_style)

    def _empty_line(self, line: int, width: int) -> Content:
        """Below the rows; where there are none, a line of what is said then."""
        said = [] if self._keys else Content(self._empty).wrap(max(1, width - 2))
        return Content.assemble(" ", said[line]) if line < len(said) else Content("")

    def _row_line(self, index: int, width: int) -> Strip:
        key = self._keys[index]
        marked = key in self._marks
        style = self.get_visual_style("virtual-table--marked") if marked else self.visual_style
        at_cursor = index == self.cursor
        if at_cursor:
            style = self._cursor_style()
        cells = self._cells(self._rows[key])
        line = Content.assemble(_sign(at_cursor, marked), *fit_cells(self._columns, cells, self._widths(width)))
        return self._line(line, width, style)

    def _cursor_style(self) -> Style:
        """Textual leaves `reverse` out of a visual style."""
        name = "virtual-table--cursor"
        return self.get_visual_style(name) + Style(reverse=self.get_component_styles(name).text_style.reverse)

    def _header_line(self, width: int) -> Content:
        heads = [column.title for column in self._columns]
        return Content.assemble(" " * SIGN_WIDTH, *fit_cells(self._columns, heads, self._widths(width)))

    def _widths(self, width: int) -> tuple[int, ...]:
        """Of the columns, in cells; set out anew where the table has another width."""
        asked = (width - SIGN_WIDTH, self.size.width)
        if self._widths_for != asked:
            self._widths_for = asked
            self._widths_now = column_widths(self._columns, *asked)
        return self._widths_now

    def _line(self, content: Content, width: int, style: Style) -> Strip:
        """One line as it is. Textual's own way would wrap it, align it and look for links in it, at twice the time."""
        parts = content.render(style, end="", parse_style=self._get_style)
        return Strip([Segment(text, each.rich_style) for text, each in parts]).adjust_cell_length(
            width, style.rich_style
        )

    def region_of_cursor(self) -> Region:
        """Where the cursor's row is in the widget, for tests and menus."""
        return Region(0, self.cursor - self.scroll_offset.y + 1, self.size.width, 1)


def _sign(at_cursor: bool, marked: bool) -> str:
    return ("▶" if at_cursor else " ") + ("●" if marked else " ")
