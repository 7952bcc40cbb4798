"""The base class of all dialogs."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Generic, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Button, Static

from sealyard.model.safe_text import escape_text
from sealyard_tui.appearance.textual_patches import use_repainting_compositor
from sealyard_tui.formatting import format_blocked_reason
from sealyard_tui.widgets.key_hints import KeyHintBar
from sealyard_tui.widgets.too_small import TooSmall

Answer = TypeVar("Answer")


MIN_SCROLLED_HEIGHT = 1
"""Minimum height of the scrolled part of a dialog, in lines."""


class DialogText(VerticalScroll):
    """The explanation in a dialog, which scrolls if the dialog would not fit into the terminal otherwise."""

    def __init__(self, text: Content) -> None:
        super().__init__(classes="dialog-text")
        self._text = text

    def compose(self) -> ComposeResult:
        yield Static(self._text)

    def allow_focus(self) -> bool:
        """Return whether Tab reaches the text, so that the arrow keys can scroll it."""
        return self.max_scroll_y > 0


class BaseDialog(ModalScreen[Answer], Generic[Answer]):
    """Base class of all dialogs: a box on top of the current screen. Esc closes it without performing an action."""

    heading: str = ""
    max_height: ClassVar[float] = 0.85
    """Maximum height of the dialog in terminals with at least 32 lines, as a fraction of their height."""

    min_size: ClassVar[tuple[int, int]] = (60, 15)
    """Minimum width and height of the terminal, below which a message covers the dialog."""

    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (22, "-short"), (32, "-tall")]

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss_dialog", "Back", id="dialog.back"),
        Binding("pageup", "read(-1)", "Text up", show=False, id="dialog.text_up"),
        Binding("pagedown", "read(1)", "Text down", show=False, id="dialog.text_down"),
    ]

    def __init__(self, *, classes: str | None = None) -> None:
        super().__init__(classes=classes)
        use_repainting_compositor(self)
        self._is_input_error = False

    def compose(self) -> ComposeResult:
        # Textual adds the class only after the first paint, and the dialog would then move.
        height = self.app.size.height
        self.add_class(next(name for minimum, name in reversed(self.VERTICAL_BREAKPOINTS) if height >= minimum))
        with Vertical(classes="dialog") as box:
            box.border_title = Content(self.heading)
            yield from self.compose_body()
        yield KeyHintBar()
        yield TooSmall(*self.min_size)

    def on_resize(self, event: events.Resize) -> None:
        min_width, min_height = self.min_size
        self.set_class(event.size.width < min_width or event.size.height < min_height, "-too-small")
        self.fit_later()

    @abstractmethod
    def compose_body(self) -> ComposeResult:
        """Yield the widgets inside the box."""

    def action_dismiss_dialog(self) -> None:
        self.dismiss(None)

    def action_read(self, pages: int) -> None:
        """Scroll the explanation down by ``pages`` pages, or up if the number is negative."""
        for text in self.query(DialogText):
            text.scroll_relative(y=pages * max(1, text.size.height - 1), animate=False, immediate=True)

    def set_blocked_reason(self, reason: str) -> None:
        """Disable the primary button, and show why beside it; enable it if ``reason``, which must be safe, is empty.

        The dialog needs a :func:`button_row` with the button ``yes``.
        """
        self.query_one("#yes", Button).disabled = bool(reason)
        self.query_one(".blocked-reason", Static).update(format_blocked_reason(reason))

    # ---- messages below the input

    def show_failure(self, text: str) -> None:
        """Show why the dialog cannot do what it asks for. ``text`` must be safe."""
        self._is_input_error = False
        self._show_message(text)

    def show_input_error(self, text: str) -> None:
        """Show what is wrong with the input, until the input changes. ``text`` must be safe."""
        self._is_input_error = True
        self._show_message(text)

    def clear_input_error(self) -> None:
        """Remove the message of :meth:`show_input_error`. Subclasses call this when the input has changed."""
        if self._is_input_error:
            self.show_failure("")

    def _show_message(self, text: str) -> None:
        self.query_one(".wrong", Static).update(Content(text))
        self.fit_later()

    # ---- height

    def fit_later(self) -> None:
        """Fit the dialog into the terminal after its content has been laid out."""
        self.call_after_refresh(self.fit)

    def fit(self) -> None:
        """Limit the height of the scrolled parts. Does nothing if the dialog has been closed meanwhile."""
        for text in self.query(DialogText):
            self.limit_height(text, MIN_SCROLLED_HEIGHT)

    def limit_height(self, part: Widget, min_height: int) -> None:
        """Limit the height of ``part``, which scrolls, so that all other parts of the dialog stay visible.

        Textual does not distribute the available space between auto-sized and scrollable widgets.
        """
        box = self.query_one(".dialog")
        siblings = [child for child in box.children if child is not part and child.display]
        used = sum(child.outer_size.height + child.styles.margin.height for child in siblings)
        fraction = self.max_height if self.has_class("-tall") else 1.0
        available = int((self.size.height - 1) * fraction) - box.gutter.height - part.styles.margin.height - used
        part.styles.max_height = max(min_height, available)


def button_row(*buttons: Button) -> Horizontal:
    """Return the last line of a dialog: the buttons, and the reason why the primary button cannot be pressed yet."""
    return Horizontal(Static("", classes="blocked-reason", markup=False), *buttons, classes="buttons")


def consequence_line(text: str) -> Static:
    """Return a widget that shows what cannot be undone. It is never scrolled. ``text`` must be safe."""
    line = Static(Content(text), classes="consequence")
    line.display = bool(text)
    return line


def format_failure(reason: str) -> Content:
    """Return a line that shows why an attempt failed; empty if ``reason`` is empty."""
    return Content(f"✗ {escape_text(reason)}" if reason else "")
