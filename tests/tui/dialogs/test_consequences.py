"""Tests that what cannot be undone is visible in every dialog that asks for it, in any size of the terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input, TextArea

from sealyard_tui.dialogs.base import BaseDialog, DialogText
from sealyard_tui.dialogs.confirm import ConfirmDialog, TypedConfirmDialog
from sealyard_tui.dialogs.reason import ReasonDialog
from tests.tui.pilot_helpers import wait_until
from tests.tui.widget_app import WidgetApp

CONSEQUENCE = "The package is signed and released immediately, and stays released. This cannot be undone."
LONG_TEXT = "\n".join(f"line {number} {'x' * 40}" for number in range(40))
SIZES = [(200, 60), (120, 40), (80, 24), (60, 18), (60, 15)]


def confirm() -> BaseDialog[Any]:
    return ConfirmDialog("Cancel", LONG_TEXT, consequence=CONSEQUENCE)


def typed_confirm() -> BaseDialog[Any]:
    return TypedConfirmDialog("Export", LONG_TEXT, "gateway", consequence=CONSEQUENCE)


def reason() -> BaseDialog[Any]:
    return ReasonDialog("Withdraw", LONG_TEXT, required=True, subject="t", edit=str, consequence=CONSEQUENCE)


def visible_words(app: WidgetApp) -> str:
    """Return the text of the screen without borders and line breaks."""
    return " ".join(app.text().replace("│", " ").split())


async def open_dialog(app: WidgetApp, pilot: Pilot[None], dialog: BaseDialog[Any]) -> None:
    app.ask(dialog)
    await wait_until(pilot, lambda: app.screen is dialog)
    await wait_until(pilot, lambda: any(text.styles.inline.has_rule("max_height") for text in dialog.query(DialogText)))
    await pilot.pause()


def assert_complete(app: WidgetApp, dialog: BaseDialog[Any]) -> None:
    """Assert that everything but the scrolled text is inside the terminal."""
    assert CONSEQUENCE in visible_words(app)
    for widget in (*dialog.query(Input), *dialog.query(TextArea), *dialog.query(Button)):
        assert dialog.region.contains_region(widget.region), widget
        assert widget.region.bottom < dialog.size.height, widget


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("create_dialog", [confirm, typed_confirm, reason])
async def test_consequence_is_visible(create_dialog: Callable[[], BaseDialog[Any]], size: tuple[int, int]) -> None:
    app = WidgetApp()
    async with app.run_test(size=size) as pilot:
        dialog = create_dialog()
        await open_dialog(app, pilot, dialog)
        assert_complete(app, dialog)
        assert "line 0" in app.text()
        dialog.action_read(50)
        await wait_until(pilot, lambda: "line 39" in app.text())
        assert_complete(app, dialog)


async def test_consequence_stays_visible_after_resize_and_error() -> None:
    app = WidgetApp()
    async with app.run_test(size=(120, 40)) as pilot:
        dialog = typed_confirm()
        await open_dialog(app, pilot, dialog)
        await pilot.resize_terminal(60, 15)
        await wait_until(pilot, lambda: dialog.size.height == 15)
        await pilot.press("x", "enter")
        await wait_until(pilot, lambda: "Does not match gateway" in app.text())
        await pilot.pause()
        assert_complete(app, dialog)


# ---- errors


async def test_typed_confirmation_error_disappears_when_text_changes() -> None:
    app = WidgetApp()
    async with app.run_test() as pilot:
        await open_dialog(app, pilot, typed_confirm())
        await pilot.press("g", "enter")
        await wait_until(pilot, lambda: "Does not match gateway" in app.text())
        await pilot.press("a")
        await wait_until(pilot, lambda: "Does not match" not in app.text())


async def test_reason_error_disappears_when_text_changes() -> None:
    app = WidgetApp()
    async with app.run_test() as pilot:
        await open_dialog(app, pilot, reason())
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: "A reason is required." in app.text())
        await pilot.press("a")
        await wait_until(pilot, lambda: "A reason is required." not in app.text())


async def test_failure_stays_when_text_changes() -> None:
    app = WidgetApp()
    async with app.run_test() as pilot:
        dialog = typed_confirm()
        await open_dialog(app, pilot, dialog)
        dialog.show_failure("The task is now CANCELLED.")
        await pilot.press("a")
        await pilot.pause()
        assert "The task is now CANCELLED." in app.text()


# ---- focus


@pytest.mark.parametrize(("text", "is_reached"), [("short", False), (LONG_TEXT, True)])
async def test_tab_reaches_text_only_if_it_scrolls(text: str, is_reached: bool) -> None:
    app = WidgetApp()
    async with app.run_test(size=(80, 24)) as pilot:
        dialog = ConfirmDialog("Cancel", text, consequence=CONSEQUENCE)
        await open_dialog(app, pilot, dialog)
        await pilot.press("tab", "tab")
        assert isinstance(app.focused, DialogText) is is_reached
        await pilot.press("down")
        await pilot.pause()
        if is_reached:
            await wait_until(pilot, lambda: dialog.query_one(DialogText).scroll_offset.y > 0)
        else:
            assert dialog.query_one(DialogText).scroll_offset.y == 0
