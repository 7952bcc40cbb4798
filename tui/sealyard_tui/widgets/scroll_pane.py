"""A pane that can be scrolled with the keyboard."""

from __future__ import annotations

from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll


def scroll_bindings(prefix: str) -> list[BindingType]:
    """Return the key bindings for a scroll pane. Their ids start with ``prefix``."""
    return [
        Binding("j", "scroll_down", "Down", show=False, id=f"{prefix}down"),
        Binding("k", "scroll_up", "Up", show=False, id=f"{prefix}up"),
        Binding("ctrl+d", "page_down", "Page down", show=False, id=f"{prefix}page_down"),
        Binding("ctrl+u", "page_up", "Page up", show=False, id=f"{prefix}page_up"),
        Binding("g", "scroll_home", "First", show=False, id=f"{prefix}first"),
        Binding("G", "scroll_end", "Last", show=False, id=f"{prefix}last"),
    ]


class ScrollPane(VerticalScroll):
    """A container that scrolls immediately when a key is pressed.

    Textual would defer scrolling to the next paint, and ignore keys pressed in the meantime.

    Subclasses bind keys to the scroll actions, usually with :func:`scroll_bindings`.
    """

    def action_scroll_down(self) -> None:
        self._scroll(1)

    def action_scroll_up(self) -> None:
        self._scroll(-1)

    def action_page_down(self) -> None:
        self._scroll(self.size.height)

    def action_page_up(self) -> None:
        self._scroll(-self.size.height)

    def action_scroll_home(self) -> None:
        self.scroll_home(animate=False, immediate=True)

    def action_scroll_end(self) -> None:
        self.scroll_end(animate=False, immediate=True)

    def scroll_half_page(self, pages: int) -> None:
        self._scroll(pages * max(1, self.size.height // 2))

    def _scroll(self, lines: int) -> None:
        self.scroll_relative(y=lines, animate=False, immediate=True)
