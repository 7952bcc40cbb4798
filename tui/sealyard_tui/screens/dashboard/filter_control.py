"""The filter of the dashboard: its text, its application to the list, and quick filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text
from sealyard_tui.dialogs.pick import PickDialog
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.screens.dashboard.filter_syntax import (
    MATCHES_NOTHING,
    ME,
    QUICK_FILTERS,
    TaskQuery,
    find_quick_filter,
    get_field,
    parse_filter,
    set_fields,
)
from sealyard_tui.screens.dashboard.task_list import TaskListModel
from sealyard_tui.widgets.filter_bar import FilterBar


class FilterControl:
    """The filter of the dashboard. ``on_error`` is called when the filter has become invalid."""

    def __init__(self, screen: BaseScreen, task_list: TaskListModel, on_error: Callable[[], None]) -> None:
        self.text = screen.saved_state.filter
        self.error = ""
        """Why the filter is invalid, as safe text; empty if it is valid."""
        self._screen = screen
        self._list = task_list
        self._on_error = on_error

    @property
    def _bar(self) -> FilterBar:
        return self._screen.query_one(FilterBar)

    def apply(self, text: str) -> None:
        """Apply and save a filter. If it is invalid, show the error beside it and an empty list."""
        self.text = text
        self._screen.save_state(filter=text)
        query = self._parse({})
        if query is not None:
            self._list.apply_filter(query)
            self._screen.reload()

    async def refresh(self) -> None:
        """Parse the filter again, using the current identity, names and device configurations."""
        devices = await (await self._screen.client()).devices() if "device:" in self.text.lower() else ()
        query = self._parse({each.name: each.id for each in devices})
        if query is not None:
            self._list.query = query

    def _parse(self, devices: Mapping[str, str]) -> TaskQuery | None:
        state = self._screen.state
        try:
            query = parse_filter(self.text, state.identity, devices, state.subject_names)
        except UsageError as error:
            self._show_error(escape_text(error.message))
            return None
        self.error = ""
        return query

    def _show_error(self, error: str) -> None:
        self.error = error
        self._bar.show_error(error)
        self._list.reset()
        self._list.query = MATCHES_NOTHING
        self._on_error()

    # ---- quick filters

    def _set_fields(self, **values: str) -> None:
        text = set_fields(self._bar.text, values)
        self._bar.set_text(text)
        self.apply(text)

    def pick_status(self) -> None:
        choices = [(f"{field}:{value}", label) for field, value, label in QUICK_FILTERS]
        self._screen.app.push_screen(PickDialog("Show", choices, find_quick_filter(self._bar.text)), self._set_status)

    def _set_status(self, choice: str | None) -> None:
        if choice is not None:
            field, _, value = choice.partition(":")
            self._set_fields(**{"status": "", "state": "", **({field: value} if field else {})})

    def toggle_own_tasks(self) -> None:
        is_own = get_field(self._bar.text, "owner") == ME
        self._set_fields(owner="" if is_own else ME)
        self._screen.flash("All tasks" if is_own else "Your own tasks")
