"""The dialog for choosing the sort order and the visible columns of a list."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from sealyard.model.base import FrozenStruct
from sealyard_tui.action_keys import insert_keys
from sealyard_tui.dialogs.base import BaseDialog
from sealyard_tui.widgets.columns import ASCENDING, DESCENDING, Column
from sealyard_tui.widgets.sort_order import SortOrder

SORTABLE_HINT = "{key[columns.sort]} sorts; again: reverse order · {key[columns.toggle]} shows or hides"
HINT = "{key[columns.toggle]} shows or hides a column"


class TableArrangement(FrozenStruct, frozen=True, kw_only=True):
    """The sort order of a list, and the keys of the columns that the user has hidden."""

    order: SortOrder
    hidden: frozenset[str]


class ColumnsDialog(BaseDialog[TableArrangement | None]):
    """A dialog that lists the columns of a table. The result is None if the user cancelled."""

    heading = "Columns"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "sort", "Sort", id="columns.sort", priority=True),
        Binding("space", "show_or_hide", "Show/hide", id="columns.toggle"),
        Binding("ctrl+s", "done", "Done", id="dialog.done"),
        Binding("j", "move(1)", show=False, id="dialog.down"),
        Binding("k", "move(-1)", show=False, id="dialog.up"),
        *(Binding(str(number), f"pick({number})", show=False, id=f"dialog.pick_{number}") for number in range(1, 10)),
    ]

    def __init__(self, columns: Sequence[Column], sortable: Collection[str], arrangement: TableArrangement) -> None:
        """Create the dialog. ``sortable``: keys of the columns by which the list can be sorted."""
        super().__init__()
        self._titles = {column.key: column.title for column in columns if column.key}
        self._sortable = sortable
        self._order = arrangement.order
        self._hidden = set(arrangement.hidden) & set(self._titles)

    @property
    def _keys(self) -> list[str]:
        return list(self._titles)

    def compose_body(self) -> ComposeResult:
        yield OptionList(*self._options(), id="choices", compact=True)
        hint = SORTABLE_HINT if self._sortable else HINT
        yield Static(Content(insert_keys(self.app, hint)), classes="detail", markup=False)

    def _options(self) -> Iterator[Option]:
        for number, (key, title) in enumerate(self._titles.items(), 1):
            mark = Content.styled("○ " if key in self._hidden else "● ", "$accent")
            arrow = (DESCENDING if self._order.descending else ASCENDING) if key == self._order.column else ""
            label = Content.styled(title, "$text-muted") if key in self._hidden else Content(title)
            yield Option(Content.assemble(Content.styled(f"{number} ", "$text-muted"), mark, label, f" {arrow}"))

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.highlighted = self._keys.index(self._order.column) if self._order.column in self._titles else 0
        self.set_focus(options)

    @property
    def _selected_key(self) -> str:
        return self._keys[self.query_one(OptionList).highlighted or 0]

    def action_move(self, offset: int) -> None:
        options = self.query_one(OptionList)
        options.action_cursor_down() if offset > 0 else options.action_cursor_up()

    def action_pick(self, number: int) -> None:
        if number <= len(self._titles):
            self.query_one(OptionList).highlighted = number - 1
            self.action_sort()

    @on(OptionList.OptionSelected)
    def action_sort(self) -> None:
        """Sort by the highlighted column and close the dialog; show or hide a column that does not support sorting."""
        if self._selected_key not in self._sortable:
            self.action_show_or_hide()
            return
        self._order = self._order.select(self._selected_key)
        self.action_done()

    def action_show_or_hide(self) -> None:
        """Show or hide the highlighted column. The last visible column cannot be hidden."""
        hidden = self._hidden ^ {self._selected_key}
        if len(hidden) == len(self._titles):
            return
        self._hidden = hidden
        options = self.query_one(OptionList)
        index = options.highlighted
        options.clear_options()
        options.add_options(self._options())
        options.highlighted = index

    def action_done(self) -> None:
        self.dismiss(TableArrangement(order=self._order, hidden=frozenset(self._hidden)))
