"""The dialog for choosing from a short list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from sealyard.model.safe_text import escape_text
from sealyard_tui.dialogs.base import BaseDialog


class PickDialog(BaseDialog[str | None]):
    """A dialog with a short list of choices. The result is the id of the chosen one, or None if the user cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "move(1)", show=False, id="dialog.down"),
        Binding("k", "move(-1)", show=False, id="dialog.up"),
        *(Binding(str(number), f"pick({number})", show=False, id=f"dialog.pick_{number}") for number in range(1, 10)),
    ]

    def __init__(self, heading: str, choices: Sequence[tuple[str, Content | str]], current: str = "") -> None:
        """Create the dialog.

        ``choices``: pairs of id and label; a ``str`` label may be untrusted. ``current``: the id of the choice that is
        highlighted first.
        """
        super().__init__()
        self.heading = heading
        self._choices = choices
        self._current = current

    def compose_body(self) -> ComposeResult:
        yield OptionList(*self._options(), id="choices", compact=True)

    def _options(self) -> Iterable[Option]:
        for number, (_, label) in enumerate(self._choices, 1):
            content = label if isinstance(label, Content) else Content(escape_text(label))
            yield Option(Content.assemble(Content.styled(f"{number} ", "$text-muted"), content))

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        ids = [choice_id for choice_id, _ in self._choices]
        options.highlighted = ids.index(self._current) if self._current in ids else (0 if ids else None)
        self.set_focus(options)

    @on(OptionList.OptionSelected)
    def _on_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._choices[event.option_index][0])

    def action_move(self, offset: int) -> None:
        options = self.query_one(OptionList)
        options.action_cursor_down() if offset > 0 else options.action_cursor_up()

    def action_pick(self, number: int) -> None:
        if number <= len(self._choices):
            self.dismiss(self._choices[number - 1][0])
