"""A table for long lists that renders only the visible lines, and keeps the cursor on its row while rows change.

Textual's DataTable measures every cell of every row, which blocks the application for seconds with 100,000 rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Generic

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from sealyard_tui.widgets.columns import Cell, Column
from sealyard_tui.widgets.row_marks import RowMarks
from sealyard_tui.widgets.row_store import Row, RowStore
from sealyard_tui.widgets.sort_order import SortOrder
from sealyard_tui.widgets.table_painter import TablePainter

LOAD_AHEAD_ROWS = 50
"""More rows are requested if fewer than this many rows remain below the cursor."""


class TableMessage(Message):
    """Base class of the messages that a table posts."""

    def __init__(self, table: VirtualTable[Any]) -> None:
        super().__init__()
        self.table = table

    @property
    def control(self) -> VirtualTable[Any]:
        return self.table


class VirtualTable(ScrollView, Generic[Row], can_focus=True):
    """A table of rows with unique keys. ``cells`` returns the cells of a row; it is called for visible rows only."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"virtual-table--head", "virtual-table--cursor", "virtual-table--marked"}

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
    """Index of the current row."""

    class RowHighlighted(TableMessage):
        """Message posted when the cursor has moved to another row; ``key`` is None if the table is empty."""

        def __init__(self, table: VirtualTable[Any], key: str | None) -> None:
            super().__init__(table)
            self.key = key

    class RowActivated(TableMessage):
        """Message posted when Enter is pressed on a row or the row is double-clicked."""

        def __init__(self, table: VirtualTable[Any], key: str) -> None:
            super().__init__(table)
            self.key = key

    class MarksChanged(TableMessage):
        """Message posted when rows have been marked or unmarked."""

    class HeaderClicked(TableMessage):
        """Message posted when the title of a column with a key is clicked."""

        def __init__(self, table: VirtualTable[Any], column: str) -> None:
            super().__init__(table)
            self.column = column

    class NearEnd(TableMessage):
        """Message posted when few rows remain below the cursor or viewport, so that the owner can append rows."""

        def __init__(self, table: VirtualTable[Any], last: bool) -> None:
            """Create the message. ``last``: whether the user has jumped to the last row."""
            super().__init__(table)
            self.last = last

    def __init__(
        self,
        columns: Sequence[Column],
        cells: Callable[[Row], Sequence[Cell]],
        *,
        key: Callable[[Row], str],
        empty: str = "No entries.",
        markable: bool = False,
        id: str | None = None,  # noqa: A002 - Textual's name
        classes: str | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes)
        self._painter = TablePainter(self, columns, cells, empty)
        self._markable = markable
        self._rows = RowStore(key)
        self._marks = RowMarks()
        self._last_highlighted: str | None = None

    # ---- rows

    @property
    def rows(self) -> list[Row]:
        """All rows, in display order."""
        return [self._rows[key] for key in self._rows.keys]

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def row(self, key: str) -> Row | None:
        return self._rows.get(key)

    def row_at(self, index: int) -> Row:
        return self._rows[self._rows.keys[index]]

    def index_of(self, key: str) -> int | None:
        return self._rows.index(key)

    @property
    def cursor_key(self) -> str | None:
        return self._rows.key_at(self.cursor)

    @property
    def cursor_row(self) -> Row | None:
        return self._rows[key] if (key := self.cursor_key) is not None else None

    @property
    def marked_rows(self) -> list[Row]:
        """The marked rows, in the order in which they were marked."""
        return [self._rows[key] for key in self._marks if key in self._rows]

    @property
    def selected_rows(self) -> list[Row]:
        """The rows that an action applies to: the marked rows if any, otherwise the one under the cursor."""
        row = self.cursor_row
        return self.marked_rows or ([row] if row is not None else [])

    def set_empty_text(self, text: str) -> None:
        if text != self._painter.empty_text:
            self._painter.empty_text = text
            self.refresh()

    def refresh_rows(self) -> None:
        """Repaint the rows only, for example because ages have changed."""
        if count := min(len(self._rows) - self.scroll_offset.y, self._lines_in_view):
            self.refresh(Region(0, 1, self.size.width, count))

    # ---- columns

    @property
    def columns(self) -> tuple[Column, ...]:
        return self._painter.layout.columns

    @property
    def hidden_columns(self) -> frozenset[str]:
        """Keys of the columns that the user has hidden."""
        return self._painter.layout.hidden

    def hide_columns(self, keys: Iterable[str]) -> None:
        """Hide the columns with these keys, and show all others for which the table is wide enough."""
        self._painter.layout.hidden = frozenset(keys)
        self.refresh()

    def show_order(self, order: SortOrder) -> None:
        """Show the sort order in the header. The owner sorts the rows."""
        self._painter.layout.order = order
        self.refresh()

    # ---- changes of rows

    def replace(self, rows: Iterable[Row]) -> None:
        """Replace all rows. The cursor and the marks stay on their rows.

        If the row of the cursor was removed, the cursor stays at its index.
        """
        cursor_key = self.cursor_key
        self._rows.replace(rows)
        self._marks.retain(self._rows.keys)
        self._restore_cursor(cursor_key)

    def extend(self, rows: Iterable[Row]) -> None:
        """Append rows. A row whose key is already in the table replaces the existing row in place."""
        cursor_key = self.cursor_key
        self._rows.extend(rows)
        self._restore_cursor(cursor_key)

    def insert_first(self, *rows: Row) -> None:
        """Insert rows at the start, in order. A row whose key is already in the table replaces that row in place."""
        cursor_key = self.cursor_key
        self._rows.insert_first(rows)
        self._restore_cursor(cursor_key)

    def insert(self, index: int, row: Row) -> None:
        """Insert a row at an index, after removing any row with the same key."""
        cursor_key = self.cursor_key
        self._rows.insert(index, row)
        self._restore_cursor(cursor_key)

    def update_row(self, row: Row) -> None:
        """Replace the row with the same key, if there is one."""
        if self._rows.update(row):
            self.refresh()

    def remove_row(self, key: str) -> None:
        if key not in self._rows:
            return
        cursor_key = self.cursor_key
        self._rows.remove(key)
        self._marks.discard(key)
        self._restore_cursor(cursor_key)

    def move_cursor_to(self, key: str) -> bool:
        """Move the cursor to the row with this key, and return whether there is one."""
        if key not in self._rows:
            return False
        self._move_to(self._rows.keys.index(key))
        return True

    def clear_marks(self) -> bool:
        """Unmark all rows, and return whether any were marked."""
        had_marks = bool(self._marks)
        self._marks.clear()
        if had_marks:
            self._on_marks_changed()
        return had_marks

    def mark_all(self) -> None:
        if self._markable:
            self._marks.mark(self._rows.keys)
            self._on_marks_changed()

    def _on_marks_changed(self) -> None:
        self.refresh()
        self.post_message(self.MarksChanged(self))

    def _restore_cursor(self, key: str | None) -> None:
        """Update the size after rows have changed, and keep the cursor on the row with this key, if it still exists."""
        self._resize()
        if key is not None and key in self._rows:
            index = self.cursor if self.cursor_key == key else self._rows.keys.index(key)
        else:
            index = max(0, min(self.cursor, len(self._rows) - 1))
        shift = index - self.cursor
        self.set_reactive(VirtualTable.cursor, index)
        if shift and self.scroll_offset.y > 0:
            self.scroll_to(y=self.scroll_offset.y + shift, animate=False, immediate=True)
        self._show_cursor()
        self.refresh()
        self._notify_highlighted()

    def _resize(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, len(self._rows) + 1)

    # ---- movement

    def _move_to(self, index: int) -> None:
        self.cursor = max(0, min(index, len(self._rows) - 1))
        self._show_cursor()
        if len(self._rows) - self.cursor < LOAD_AHEAD_ROWS:
            self.post_message(self.NearEnd(self, last=False))

    def watch_cursor(self, old_value: int, new_value: int) -> None:
        """Repaint the lines of the old and the new row, and post :class:`RowHighlighted`."""
        for index in (old_value, new_value):
            line = index - self.scroll_offset.y + 1
            if 0 < line <= self._lines_in_view:
                self.refresh(Region(0, line, self.size.width, 1))
        self._notify_highlighted()

    def _notify_highlighted(self) -> None:
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
        self._move_to(len(self._rows) - 1)
        self.post_message(self.NearEnd(self, last=True))

    def action_activate(self) -> None:
        if (key := self.cursor_key) is not None:
            self.post_message(self.RowActivated(self, key))

    def action_mark(self) -> None:
        """Mark or unmark the current row, and move to the next one."""
        key = self.cursor_key
        if not self._markable or key is None:
            return
        self._marks.toggle(key)
        self._on_marks_changed()
        self._move_to(self.cursor + 1)

    def action_mark_range(self) -> None:
        """Mark the rows from the most recently marked row to the cursor."""
        if not self._markable or self.cursor_key is None:
            return
        self._marks.mark_range(self._rows.keys, self.cursor)
        self._on_marks_changed()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's
        return self._markable if action in ("mark", "mark_range") else True

    async def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if offset.y == 0:
            if (column := self._painter.column_at(offset.x)) is not None and column.key:
                self.post_message(self.HeaderClicked(self, column.key))
            return
        index = self.scroll_offset.y + offset.y - 1
        if not 0 <= index < len(self._rows):
            return
        is_activated = event.chain > 1 and index == self.cursor
        self._move_to(index)
        if is_activated:
            self.action_activate()

    def on_resize(self) -> None:
        self._resize()
        self._show_cursor()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if len(self._rows) and new_value + 2 * self._lines_in_view >= len(self._rows):
            self.post_message(self.NearEnd(self, last=False))

    # ---- rendering

    def render_line(self, y: int) -> Strip:
        if not len(self._rows):
            return self._painter.paint_placeholder_line(y)
        if y == 0:
            return self._painter.paint_header()
        index = self.scroll_offset.y + y - 1
        if index >= len(self._rows):
            return self._painter.paint_blank_line()
        key = self._rows.keys[index]
        return self._painter.paint_row(self._rows[key], at_cursor=index == self.cursor, marked=key in self._marks)

    def region_of_cursor(self) -> Region:
        """Return the region of the current row, relative to the widget."""
        return Region(0, self.cursor - self.scroll_offset.y + 1, self.size.width, 1)
