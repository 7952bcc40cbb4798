"""Tests of the filter bar."""

from __future__ import annotations

from textual import on
from textual.widgets import Input

from sealyard_tui.widgets.filter_bar import FilterBar
from tests.tui.pilot_helpers import wait_until
from tests.tui.widget_app import WidgetApp


class FilterBarApp(WidgetApp):
    def __init__(self, text: str = "") -> None:
        super().__init__(FilterBar(text, hint="a word"))
        self.events: list[str] = []

    @property
    def bar(self) -> FilterBar:
        return self.query_one(FilterBar)

    @on(FilterBar.Changed)
    def _changed(self, event: FilterBar.Changed) -> None:
        self.events.append(event.text)

    @on(FilterBar.Closed)
    def _record_close(self) -> None:
        self.events.append("closed")


async def test_hidden_bar_ignores_keys_until_open() -> None:
    app = FilterBarApp()
    async with app.run_test() as pilot:
        assert not app.bar.display
        await pilot.press("x")
        app.bar.open()
        assert app.bar.display
        await pilot.press("y")
        assert app.query_one(Input).value == "y"


async def test_fast_typing_posts_one_change() -> None:
    app = FilterBarApp()
    async with app.run_test() as pilot:
        app.bar.open()
        app.query_one(Input).value = "g"
        app.query_one(Input).value = "ga"
        app.query_one(Input).value = "gat"
        await wait_until(pilot, lambda: bool(app.events))
        assert app.events == ["gat"]
        assert app.bar.text == "gat"


async def test_enter_keeps_filter_and_closes() -> None:
    app = FilterBarApp()
    async with app.run_test() as pilot:
        app.bar.open()
        await pilot.press("a", "enter")
        assert app.events == ["a", "closed"]
        assert app.bar.display


async def test_enter_without_text_hides_bar() -> None:
    app = FilterBarApp()
    async with app.run_test() as pilot:
        app.bar.open()
        await pilot.press("enter")
        assert app.events == ["closed"]
        assert not app.bar.display


async def test_escape_clears_and_hides_bar() -> None:
    app = FilterBarApp("before")
    async with app.run_test() as pilot:
        assert app.bar.display
        app.bar.open()
        await pilot.press("escape")
        assert app.events == ["", "closed"]
        assert not app.bar.display
        assert not app.bar.clear()


async def test_set_text_posts_no_change() -> None:
    app = FilterBarApp()
    async with app.run_test() as pilot:
        app.bar.set_text("status:done")
        await pilot.pause(0.2)
        assert app.events == []
        assert app.bar.text == "status:done"
        assert app.bar.display


async def test_count_and_error_are_shown() -> None:
    app = FilterBarApp("x")
    async with app.run_test() as pilot:
        app.bar.show_count(1234, 100_000)
        await pilot.pause()
        await wait_until(pilot, lambda: "1,234 of 100,000" in app.text())
        app.bar.show_count(7, more=True)
        await pilot.pause()
        await wait_until(pilot, lambda: "7+" in app.text())
        app.bar.show_error("no field stat: status:?")
        await pilot.pause()
        await wait_until(pilot, lambda: "✗ no field stat: status:?" in app.text())
