"""The filter line: opens by key, tells after a pause, keeps by Enter, clears by Escape, says how many."""

from __future__ import annotations

from textual import on
from textual.widgets import Input

from sealyard_tui.widgets.filter_bar import FilterBar
from tests.tui.pilot_helpers import wait_until
from tests.tui.widget_app import WidgetApp


class Bench(WidgetApp):
    def __init__(self, text: str = "") -> None:
        super().__init__(FilterBar(text, hint="a word"))
        self.told: list[str] = []

    @property
    def bar(self) -> FilterBar:
        return self.query_one(FilterBar)

    @on(FilterBar.Changed)
    def _changed(self, event: FilterBar.Changed) -> None:
        self.told.append(event.text)

    @on(FilterBar.Closed)
    def _left(self) -> None:
        self.told.append("left")


async def test_it_is_hidden_until_it_is_opened_and_takes_no_keys_before() -> None:
    app = Bench()
    async with app.run_test() as pilot:
        assert not app.bar.display
        await pilot.press("x")
        app.bar.open()
        assert app.bar.display
        await pilot.press("y")
        assert app.query_one(Input).value == "y"


async def test_what_is_typed_fast_is_told_once() -> None:
    app = Bench()
    async with app.run_test() as pilot:
        app.bar.open()
        app.query_one(Input).value = "g"
        app.query_one(Input).value = "ga"
        app.query_one(Input).value = "gat"
        await wait_until(pilot, lambda: bool(app.told))
        assert app.told == ["gat"]
        assert app.bar.text == "gat"


async def test_enter_keeps_the_filter_and_leaves_the_line_at_once() -> None:
    app = Bench()
    async with app.run_test() as pilot:
        app.bar.open()
        await pilot.press("a", "enter")
        assert app.told == ["a", "left"]
        assert app.bar.display


async def test_enter_on_nothing_hides_it() -> None:
    app = Bench()
    async with app.run_test() as pilot:
        app.bar.open()
        await pilot.press("enter")
        assert app.told == ["left"]
        assert not app.bar.display


async def test_escape_clears_hides_and_leaves() -> None:
    app = Bench("before")
    async with app.run_test() as pilot:
        assert app.bar.display
        app.bar.open()
        await pilot.press("escape")
        assert app.told == ["", "left"]
        assert not app.bar.display
        assert not app.bar.clear()


async def test_a_text_from_elsewhere_is_told_to_nobody() -> None:
    app = Bench()
    async with app.run_test() as pilot:
        app.bar.set_text("status:done")
        await pilot.pause(0.2)
        assert app.told == []
        assert app.bar.text == "status:done"
        assert app.bar.display


async def test_it_says_how_many_and_what_is_wrong() -> None:
    app = Bench("x")
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
