"""Tests of the flash message."""

from __future__ import annotations

import pytest

from sealyard_tui.widgets import flash
from sealyard_tui.widgets.flash import Flash
from tests.tui.pilot_helpers import wait_until
from tests.tui.widget_app import HOSTILE, WidgetApp, is_harmless


async def test_message_has_symbol_and_disappears(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flash, "DURATION", 0.2)
    app = WidgetApp(Flash())
    async with app.run_test() as pilot:
        app.query_one(Flash).show("Copied.")
        await pilot.pause()
        await wait_until(pilot, lambda: "✓ Copied." in app.text())
        await wait_until(pilot, lambda: not app.query_one(Flash).display)


async def test_warning_has_different_symbol() -> None:
    app = WidgetApp(Flash())
    async with app.run_test() as pilot:
        app.query_one(Flash).show("Gone.", warning=True)
        await pilot.pause()
        await wait_until(pilot, lambda: "! Gone." in app.text())
        app.query_one(Flash).show("Back.")
        await pilot.pause()
        await wait_until(pilot, lambda: "✓ Back." in app.text())


async def test_new_message_restarts_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flash, "DURATION", 0.3)
    app = WidgetApp(Flash())
    async with app.run_test() as pilot:
        line = app.query_one(Flash)
        line.show("one")
        first = line._timer
        line.show("two")
        assert first is not None
        assert first is not line._timer
        await wait_until(pilot, lambda: first._task is None or first._task.done())
        assert line.display


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_are_escaped(name: str) -> None:
    app = WidgetApp(Flash())
    async with app.run_test() as pilot:
        app.query_one(Flash).show(name)
        await pilot.pause()
        assert is_harmless(app.text())
        if name.isprintable():
            await wait_until(pilot, lambda: name in app.text())
