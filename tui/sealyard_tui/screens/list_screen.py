"""Base class of the screens with a list: choice of columns and sort order, both saved for the next start."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from textual import on
from textual.binding import Binding, BindingType

from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.sort_order import SortOrder
from sealyard_tui.widgets.virtual_table import VirtualTable

if TYPE_CHECKING:
    from sealyard_tui.dialogs.columns import TableArrangement
    from sealyard_tui.dialogs.filters import FilterChoice

EMPTY_CLASS = "-empty"
"""CSS class of the screen while its list has no rows."""


class ListScreen(BaseScreen):
    """A main screen with a list. The user chooses the columns and the sort order."""

    SORTABLE: ClassVar[frozenset[str]] = frozenset()
    """Keys of the columns by which the list can be sorted."""

    ORDER: ClassVar[type[SortOrder]] = SortOrder
    """Class of the sort order; without arguments, it is the order in which the list is shown at first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "o", "arrange", "Columns", id="screen.columns", show=False, tooltip="Choose the sort order and the columns"
        ),
        Binding("F", "filters", "Filters", id="screen.filters", show=False, tooltip="Apply or save a named filter"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.order = self.ORDER()

    @abstractmethod
    def apply_order(self, order: SortOrder) -> None:
        """Sort the loaded rows. Called when the user changes the order, and once before data is loaded."""

    @property
    def list_table(self) -> VirtualTable[Any]:
        return self.query(VirtualTable).first()

    def on_mount(self) -> None:
        self.set_class(not len(self.list_table), EMPTY_CLASS)
        saved_state = self.saved_state
        self.order = self.ORDER.parse(saved_state.sort, self.SORTABLE)
        self.list_table.hide_columns(saved_state.hidden_columns)
        self.list_table.show_order(self.order)
        self.apply_order(self.order)

    # ---- rows and filters

    @on(VirtualTable.RowHighlighted)
    def _update_empty_class(self, event: VirtualTable.RowHighlighted) -> None:
        self.set_class(event.key is None, EMPTY_CLASS)

    def show_row(self, key: str) -> None:
        """Select a row of the list, after clearing the filter if the row is hidden."""
        self.run_guarded(self._show_row(key), group="show-row", exclusive=True)

    async def _show_row(self, key: str) -> None:
        table = self.list_table
        if not table.move_cursor_to(key):
            self.show_all_rows()
            await self.load()
            if not table.move_cursor_to(key):
                self.flash("The entry is no longer in the list.", warning=True)
        self.set_focus(table)

    def show_all_rows(self) -> None:
        """Remove all restrictions of the list; the caller loads it again."""
        self.query_one(FilterBar).set_text("")
        self.save_state(filter="")

    def apply_filter(self, text: str) -> None:
        self.query_one(FilterBar).apply(text)
        self.set_focus(self.list_table)

    def action_filters(self) -> None:
        # Imported here, because the imports would delay the first paint.
        from sealyard_tui.dialogs.filters import FiltersDialog

        filters = self.app.appearance.screen_state(self.NAME).filters
        self.app.push_screen(FiltersDialog(filters, self.query_one(FilterBar).text), self._on_filter_chosen)

    def _on_filter_chosen(self, choice: FilterChoice | None) -> None:
        if choice is None:
            return
        if choice.text is None:
            added = len(choice.filters) >= len(self.saved_state.filters)
            self.flash("Filter saved" if added else "Filter deleted")
        else:
            self.apply_filter(choice.text)
        self.save_state(filters=choice.filters)

    # ---- columns and order

    def action_arrange(self) -> None:
        from sealyard_tui.dialogs.columns import ColumnsDialog, TableArrangement

        table = self.list_table
        arrangement = TableArrangement(order=self.order, hidden=table.hidden_columns)
        self.app.push_screen(ColumnsDialog(table.columns, self.SORTABLE, arrangement), self._arrange)

    def _arrange(self, arrangement: TableArrangement | None) -> None:
        if arrangement is None:
            return
        self.list_table.hide_columns(arrangement.hidden)
        self.save_state(hidden_columns=tuple(sorted(arrangement.hidden)))
        self._set_order(arrangement.order)

    @on(VirtualTable.HeaderClicked)
    def _on_header_clicked(self, event: VirtualTable.HeaderClicked) -> None:
        if event.column in self.SORTABLE:
            self._set_order(self.order.select(event.column))

    def _set_order(self, order: SortOrder) -> None:
        if order == self.order:
            return
        self.order = order
        self.save_state(sort=str(order))
        self.list_table.show_order(order)
        self.apply_order(order)
        self.reload()
