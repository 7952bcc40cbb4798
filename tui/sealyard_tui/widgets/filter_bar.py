"""The filter bar of a list: ``/`` opens it, Enter accepts the filter, Esc clears it."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input, Static

from sealyard_tui.widgets.safe_input import SafeInput

DEBOUNCE_SECONDS = 0.15
"""Seconds after the last key press until the list is filtered."""


class FilterBar(Horizontal):
    """A one-line input for the filter of a list; hidden while it is empty and not focused."""

    DEFAULT_CSS = """
    FilterBar {
        height: 1; display: none; background: $panel;
        &.-shown { display: block; }
        & > .icon { width: 3; text-style: bold; color: $accent; padding-left: 1; }
        & > Input { width: 1fr; background: $panel; }
        & > .count { width: auto; padding: 0 1; color: $text-muted; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "clear", "Clear the filter", id="filter.clear"),
        Binding("down", "accept", show=False, id="filter.keep"),
    ]

    class Changed(Message):
        """Message posted when the filter has changed."""

        def __init__(self, bar: FilterBar, text: str) -> None:
            super().__init__()
            self.bar = bar
            self.text = text

        @property
        def control(self) -> FilterBar:
            return self.bar

    class Closed(Message):
        """Message posted when the user has finished editing and the list should receive the focus."""

        def __init__(self, bar: FilterBar) -> None:
            super().__init__()
            self.bar = bar

        @property
        def control(self) -> FilterBar:
            return self.bar

    def __init__(self, text: str = "", *, hint: str = "", id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes="-shown" if text else None)
        self._last_posted = text
        self._hint = hint
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Static("/", classes="icon", markup=False)
        # A hidden input is disabled; otherwise it would receive keys that are pressed before the first paint.
        hidden = not self._last_posted
        yield SafeInput(self._last_posted, placeholder=self._hint, compact=True, select_on_focus=False, disabled=hidden)
        yield Static("", classes="count", markup=False)

    @property
    def text(self) -> str:
        """The filter that was applied last."""
        return self._last_posted

    def open(self) -> None:
        self._set_visible(True)
        # Widget.focus() is deferred: keys pressed in the meantime would trigger actions of the list.
        self.screen.set_focus(self.query_one(Input))

    def _set_visible(self, visible: bool) -> None:
        self.set_class(visible, "-shown")
        self.query_one(Input).disabled = not visible

    def set_text(self, text: str) -> None:
        """Set the filter without posting :class:`Changed`; an empty text hides the bar."""
        self._last_posted = text
        with self.prevent(Input.Changed):
            self.query_one(Input).value = text
        self._set_visible(bool(text))

    def apply(self, text: str) -> None:
        """Set the filter and post :class:`Changed`."""
        self.set_text(text)
        self.post_message(self.Changed(self, text))

    def show_count(self, count: int, total: int | None = None, *, more: bool = False, similar: bool = False) -> None:
        """Show the number of matches, and the total number of rows if it is known.

        ``more``: whether there may be more matches than counted. ``similar``: whether no row contains the words, and
        the counted ones are only similar.
        """
        matches = f"{count:,}+" if more else f"{count:,}"
        text = matches if total is None else f"{matches} of {total:,}"
        if similar:
            text = f"no exact match, {count:,} similar"
        self.query_one(".count", Static).update(Content(text))

    def show_error(self, text: str) -> None:
        """Show why the filter is invalid. ``text``: the reason, which must be safe to display."""
        self.query_one(".count", Static).update(Content.styled(f"✗ {text}", "$error"))

    def clear(self) -> bool:
        """Clear the filter, hide the bar, and return whether there was a filter."""
        has_filter = bool(self._last_posted or self.query_one(Input).value)
        self.set_text("")
        if has_filter:
            self.post_message(self.Changed(self, ""))
        return has_filter

    @on(Input.Changed)
    def _on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(DEBOUNCE_SECONDS, self._post_changed)

    @on(Input.Submitted)
    def _on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_accept()

    def action_accept(self) -> None:
        self._post_changed()
        self._set_visible(bool(self._last_posted))
        self.post_message(self.Closed(self))

    def action_clear(self) -> None:
        self.clear()
        self.post_message(self.Closed(self))

    def _post_changed(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        text = self.query_one(Input).value.strip()
        if text != self._last_posted:
            self._last_posted = text
            self.post_message(self.Changed(self, text))
