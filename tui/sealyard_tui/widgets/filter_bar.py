"""The line where one types what a list is narrowed to: `/` opens it, Enter keeps the filter, Esc clears it."""

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
"""Seconds without a key before the list follows what is typed."""


class FilterBar(Horizontal):
    """Hidden while there is no filter and nobody types one."""

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
        """The filter is another now."""

        def __init__(self, bar: FilterBar, text: str) -> None:
            super().__init__()
            self.bar = bar
            self.text = text

        @property
        def control(self) -> FilterBar:
            return self.bar

    class Closed(Message):
        """The person is done with the line: the list takes the focus."""

        def __init__(self, bar: FilterBar) -> None:
            super().__init__()
            self.bar = bar

        @property
        def control(self) -> FilterBar:
            return self.bar

    def __init__(self, text: str = "", *, hint: str = "", id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes="-shown" if text else None)
        self._told = text
        self._hint = hint
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Static("/", classes="sign", markup=False)
        # Keys that come before the first paint would be typed into a line that nobody sees.
        hidden = not self._told
        yield SafeInput(self._told, placeholder=self._hint, compact=True, select_on_focus=False, disabled=hidden)
        yield Static("", classes="count", markup=False)

    @property
    def text(self) -> str:
        """What the list is narrowed to now."""
        return self._told

    def open(self) -> None:
        self._show(True)
        # At once: Widget.focus() comes later, and keys typed meanwhile would act on the list.
        self.screen.set_focus(self.query_one(Input))

    def _show(self, shown: bool) -> None:
        self.set_class(shown, "-shown")
        self.query_one(Input).disabled = not shown

    def set_text(self, text: str) -> None:
        """From elsewhere than the keyboard; tells nobody."""
        self._told = text
        with self.prevent(Input.Changed):
            self.query_one(Input).value = text
        self._show(bool(text))

    def show_count(self, shown: int, total: int | None = None, *, more: bool = False) -> None:
        """``more``: not all that match were found yet."""
        found = f"{shown:,}+" if more else f"{shown:,}"
        text = found if total is None else f"{found} of {total:,}"
        self.query_one(".count", Static).update(Content(text))

    def show_error(self, text: str) -> None:
        """What is not understood of the filter, beside it. ``text`` must be safe."""
        self.query_one(".count", Static).update(Content.styled(f"✗ {text}", "$error"))

    def clear(self) -> bool:
        """Whether there was anything to clear."""
        had = bool(self._told or self.query_one(Input).value)
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
        self._show(bool(self._told))
        self.post_message(self.Closed(self))

    def action_clear(self) -> None:
        self.clear()
        self.post_message(self.Closed(self))

    def _post_changed(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        text = self.query_one(Input).value.strip()
        if text != self._told:
            self._told = text
            self.post_message(self.Changed(self, text))
