"""Tests of the scroll pane."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.widgets import Static

from sealyard_tui.widgets.scroll_pane import ScrollPane

LINES = 500


class ScrollPaneApp(App[None]):
    def compose(self) -> ComposeResult:
        with ScrollPane():
            yield Static("\n".join(str(number) for number in range(LINES)))


async def test_scrolls_between_paints_accumulate() -> None:
    async with ScrollPaneApp().run_test(size=(80, 24)) as pilot:
        pane = pilot.app.query_one(ScrollPane)
        for _ in range(5):
            pane.action_page_down()
        assert pane.scroll_offset.y == 5 * 24
        for _ in range(3):
            pane.action_scroll_up()
        pane.action_page_up()
        assert pane.scroll_offset.y == 4 * 24 - 3
        pane.scroll_half_page(1)
        assert pane.scroll_offset.y == 4 * 24 - 3 + 12


async def test_scrolling_stops_at_both_ends() -> None:
    async with ScrollPaneApp().run_test(size=(80, 24)) as pilot:
        pane = pilot.app.query_one(ScrollPane)
        pane.action_scroll_end()
        assert pane.scroll_offset.y == LINES - 24
        pane.action_page_down()
        assert pane.scroll_offset.y == LINES - 24
        pane.action_scroll_home()
        assert pane.scroll_offset.y == 0
