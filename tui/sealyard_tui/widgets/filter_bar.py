"""The filter of a list: `/` opens it, Enter keeps the filter, Esc clears it."""

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
"""Seconds without a key press before the list is filtered."""


class FilterBar(Horizontal):
    """Hidden while there is no filter and it is not focused."""

    DEFAULT_CSS = """
    FilterBar {
        height: 1; display: none; background: $panel;
        &.-shown { display: block; }
        & > .sign { width: 3; text-style: bold; color: $accent; padding-left: 1; }
        & > Input { width: 1fr; background: $panel; }
        & > .count { width: auto; padding: 0 1; color: $text-muted; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "clear", "Clear the filter", id="filter.clear"),
        Binding("down", "accept", show=False, id="filter.keep"),
    ]

    class Changed(Message):
        """The filter has changed."""

        def __init__(self, bar: FilterBar, text: str) -> None:
            super().__init__()
            self.bar = bar
            self.text = text

        @property
        def control(self) -> FilterBar:
            return self.bar

    class Closed(Message):
        """The user has left the line: the list should take the focus."""

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
        yield Static("/", classes="sign", markup=False)
        # Keys pressed before the first paint would be typed into an invisible line.
        hidden = not self._last_posted
        yield SafeInput(self._last_posted, placeholder=self._hint, compact=True, select_on_focus=False, disabled=hidden)
        yield Static("", classes="count", markup=False)

    @property
    def text(self) -> str:
        """The current filter."""
        return self._last_posted

    def open(self) -> None:
        self._show(True)
        # Immediately: Widget.focus() is deferred, and keys typed meanwhile would act on the list.
        self.screen.set_focus(self.query_one(Input))

    def _show(self, shown: bool) -> None:
        self.set_class(shown, "-shown")
        self.query_one(Input).disabled = not shown

    def set_text(self, text: str) -> None:
        """Set the text without a message."""
        self._last_posted = text
        with self.prevent(Input.Changed):
            self.query_one(Input).value = text
        self._show(bool(text))

    def show_count(self, shown: int, total: int | None = None, *, more: bool = False) -> None:
        """Show the number of matches. ``more``: not all matches were found yet."""
        found = f"{shown:,}+" if more else f"{shown:,}"
        text = found if total is None else f"{found} of {total:,}"
        self.query_one(".count", Static).update(Content(text))

    def show_error(self, text: str) -> None:
        """Show beside the filter why it is invalid. ``text`` must be safe."""
        self.query_one(".count", Static).update(Content.styled(f"✗ {text}", "$error"))

    def clear(self) -> bool:
        """Clear the filter. Returns whether there was one."""
        had = bool(self._last_posted or self.query_one(Input).value)
        self.set_text("")
        if had:
            self.post_message(self.Changed(self, ""))
        return had

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(DEBOUNCE_SECONDS, self._post_changed)

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_accept()

    def action_accept(self) -> None:
        self._post_changed()
        self._show(bool(self._last_posted))
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
