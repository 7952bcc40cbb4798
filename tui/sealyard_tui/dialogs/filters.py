"""The dialog for applying, saving and deleting named filters of a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from sealyard.model.base import FrozenStruct
from sealyard.model.safe_text import escape_text
from sealyard_tui.action_keys import insert_keys
from sealyard_tui.dialogs.base import BaseDialog
from sealyard_tui.widgets.safe_input import SafeInput

MAX_NAME_LENGTH = 60

NO_FILTERS_TEXT = "No saved filters yet. Filter the list with {key[screen.filter]}, then save the filter here."
SAVE_LABEL = "Save the current filter as (enter saves):"


class FilterChoice(FrozenStruct, frozen=True, kw_only=True):
    """The filters after the dialog was closed, by name, and the filter to apply; None to keep the current one."""

    filters: dict[str, str]
    text: str | None = None


class FiltersDialog(BaseDialog[FilterChoice | None]):
    """A dialog that lists saved filters. The result is None if the user cancelled."""

    heading = "Filters"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("delete,x", "remove", "Delete", id="filters.remove"),
        Binding("j", "move(1)", show=False, id="dialog.down"),
        Binding("k", "move(-1)", show=False, id="dialog.up"),
        *(Binding(str(number), f"pick({number})", show=False, id=f"dialog.pick_{number}") for number in range(1, 10)),
    ]

    def __init__(self, filters: Mapping[str, str], current: str) -> None:
        """Create the dialog. ``filters``: the saved filters by name. ``current``: the filter of the list."""
        super().__init__()
        self._filters = dict(sorted(filters.items(), key=lambda item: item[0].casefold()))
        self._current = current

    def compose_body(self) -> ComposeResult:
        if not self._filters:
            yield Static(Content(insert_keys(self.app, NO_FILTERS_TEXT)), classes="dialog-text", markup=False)
        yield OptionList(*self._options(), id="choices", compact=True)
        if self._current:
            yield Static(SAVE_LABEL, classes="detail", markup=False)
            yield SafeInput(placeholder="name", max_length=MAX_NAME_LENGTH, compact=True)

    def _options(self) -> list[Option]:
        return [
            Option(
                Content.assemble(
                    Content.styled(f"{number} ", "$text-muted"),
                    escape_text(name),
                    Content.styled(f"  {escape_text(text, 80)}", "$text-muted"),
                )
            )
            for number, (name, text) in enumerate(self._filters.items(), 1)
        ]

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.highlighted = 0 if self._filters else None
        inputs = self.query(Input)
        self.set_focus(inputs.first() if inputs and self._current not in self._filters.values() else options)

    @property
    def _names(self) -> list[str]:
        return list(self._filters)

    def action_move(self, offset: int) -> None:
        options = self.query_one(OptionList)
        options.action_cursor_down() if offset > 0 else options.action_cursor_up()

    def action_pick(self, number: int) -> None:
        if number <= len(self._filters):
            self._apply(number - 1)

    @on(OptionList.OptionSelected)
    def _on_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._apply(event.option_index)

    def _apply(self, index: int) -> None:
        self.dismiss(FilterChoice(filters=self._filters, text=self._filters[self._names[index]]))

    @on(Input.Submitted)
    def _on_input_submitted(self, event: Input.Submitted) -> None:
        """Save the current filter; a filter with the same name is replaced."""
        if name := event.value.strip():
            self.dismiss(FilterChoice(filters={**self._filters, name: self._current}))

    def action_remove(self) -> None:
        """Delete the highlighted filter, and close the dialog."""
        index = self.query_one(OptionList).highlighted
        if index is not None and self._filters:
            del self._filters[self._names[index]]
            self.dismiss(FilterChoice(filters=self._filters))
