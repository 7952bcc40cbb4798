"""A text that is longer than its room, scrolled by keys."""

from __future__ import annotations

from textual.containers import VerticalScroll


class ReadingPane(VerticalScroll):
    """Scrolls at once: Textual puts it off to the next paint, and of keys that come faster than paints only one counts.

    The keys are the pane's own; they name these actions.
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

    def half_page(self, pages: int) -> None:
        self._scroll(pages * max(1, self.size.height // 2))

    def _scroll(self, lines: int) -> None:
        self.scroll_relative(y=lines, animate=False, immediate=True)
