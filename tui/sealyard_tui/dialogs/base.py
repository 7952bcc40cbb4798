"""The base class of all dialogs."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Generic, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen

from sealyard.model.safe_text import escape_text
from sealyard_tui.appearance.textual_patches import use_repainting_compositor
from sealyard_tui.widgets.key_hints import KeyHintBar
from sealyard_tui.widgets.too_small import TooSmall

Answer = TypeVar("Answer")


class BaseDialog(ModalScreen[Answer], Generic[Answer]):
    """Base class of all dialogs: a box on top of the current screen. Esc closes it without performing an action."""

    heading: str = ""

    min_size: ClassVar[tuple[int, int]] = (60, 15)
    """Minimum width and height of the terminal, below which a message covers the dialog."""

    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (22, "-short"), (32, "-tall")]

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss_dialog", "Back", id="dialog.back"),
    ]

    def __init__(self, *, classes: str | None = None) -> None:
        super().__init__(classes=classes)
        use_repainting_compositor(self)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = Content(self.heading)
            yield from self.compose_body()
        yield KeyHintBar()
        yield TooSmall(*self.min_size)

    def on_resize(self, event: events.Resize) -> None:
        min_width, min_height = self.min_size
        self.set_class(event.size.width < min_width or event.size.height < min_height, "-too-small")

    @abstractmethod
    def compose_body(self) -> ComposeResult:
        """Yield the widgets inside the box."""

    def action_dismiss_dialog(self) -> None:
        self.dismiss(None)


def format_failure(reason: str) -> Content:
    """Return a line that shows why an attempt failed; empty if ``reason`` is empty."""
    return Content(f"✗ {escape_text(reason)}" if reason else "")
