"""Tests of the shared dialogs: keys, drafts, and escaping of hostile text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from textual.content import Content
from textual.pilot import Pilot
from textual.widgets import Button, Input, OptionList, TextArea

from sealyard.model.errors import StorageError, UsageError
from sealyard_tui.dialogs.base import BaseDialog
from sealyard_tui.dialogs.confirm import ConfirmDialog, TypedConfirmDialog
from sealyard_tui.dialogs.error import ErrorDialog
from sealyard_tui.dialogs.pick import PickDialog
from sealyard_tui.dialogs.reason import ReasonDialog
from sealyard_tui.dialogs.text import TextDialog
from tests.tui.pilot_helpers import wait_until
from tests.tui.widget_app import HOSTILE, WidgetApp, is_harmless


@pytest.fixture(autouse=True)
def no_drafts() -> Iterator[None]:
    yield
    ReasonDialog.drafts.clear()


async def open_dialog(app: WidgetApp, pilot: Pilot[None], dialog: BaseDialog[Any]) -> None:
    app.ask(dialog)
    await wait_until(pilot, lambda: app.screen is dialog)
    await pilot.pause()


# ---- confirmation


@pytest.mark.parametrize(
    ("keys", "answer"),
    [(["y"], True), (["n"], False), (["enter"], True), (["escape"], False), (["tab", "enter"], False)],
)
async def test_confirm_dialog_accepts_keys(keys: list[str], answer: bool) -> None:
    app = WidgetApp()
    async with app.run_test() as pilot:
        await open_dialog(app, pilot, ConfirmDialog("Renew", "Renew the link?"))
        await wait_until(pilot, lambda: "Renew the link?" in app.text())
        await pilot.press(*keys)
        assert app.answers == [answer]


async def test_confirm_dialog_accepts_mouse_click() -> None:
    app = WidgetApp()
    async with app.run_test() as pilot:
        await open_dialog(app, pilot, ConfirmDialog("Renew", "Renew the link?"))
        await pilot.click("#yes")
        assert app.answers == [True]


# ---- typed confirmation


async def test_typed_confirmation_requires_exact_word() -> None:
    app = WidgetApp()
    async with app.run_test() as pilot:
        await open_dialog(app, pilot, TypedConfirmDialog("Export", "The key leaves.", "gateway"))
        assert app.screen.query_one("#yes", Button).disabled
        assert "○ not ready: type gateway" in app.text()
        await pilot.press("enter")
        assert "Does not match gateway" in app.text()
        await pilot.press(*"gatewa", "enter")
        assert app.answers == []
        await pilot.press("y")
        assert not app.screen.query_one("#yes", Button).disabled
        await pilot.press("enter")
        assert app.answers == [True]


async def test_typed_confirmation_escape_returns_false() -> None:
    app = WidgetApp()
    async with app.run_test() as pilot:
        await open_dialog(app, pilot, TypedConfirmDialog("Export", "The key leaves.", "x"))
        await pilot.press("x", "escape")
        assert app.answers == [False]


async def test_long_text_scrolls_with_input_focused() -> None:
    app = WidgetApp()
    async with app.run_test(size=(80, 24)) as pilot:
        about = "\n".join(f"line {number}" for number in range(60))
        await open_dialog(app, pilot, TypedConfirmDialog("Export", about, "x"))
        await pilot.press(*["pagedown"] * 8)
        await wait_until(pilot, lambda: "line 59" in app.text())
        assert app.screen.query_one("#word", Input).has_focus
        await pilot.press(*["pageup"] * 8)
        await wait_until(pilot, lambda: "line 0" in app.text())


# ---- reasons


async def test_required_reason_rejects_blank_text() -> None:
    app = WidgetApp()
    async with app.run_test() as pilot:
        await open_dialog(app, pilot, ReasonDialog("Reject", "gateway", required=True, subject="t-1", edit=str))
        await pilot.press("space", "ctrl+s")
        await wait_until(pilot, lambda: "A reason is required." in app.text())
        assert app.answers == []
        await pilot.press("n", "o", "ctrl+s")
        assert app.answers == ["no"]


async def test_reason_keeps_multiple_lines() -> None:
    app = WidgetApp()
    async with app.run_test() as pilot:
        await open_dialog(app, pilot, ReasonDialog("Reject", "gateway", required=True, subject="t-1", edit=str))
        await pilot.press("a", "enter", "b", "ctrl+s")
        assert app.answers == ["a\nb"]


async def test_reason_draft_is_kept_per_subject() -> None:
    app = WidgetApp()
    async with app.run_test() as pilot:
        await open_dialog(app, pilot, ReasonDialog("Reject", "gateway", required=True, subject="t-1", edit=str))
        await pilot.press("h", "m", "escape")
        assert app.answers == [None]
        await open_dialog(app, pilot, ReasonDialog("Reject", "gateway", required=True, subject="t-1", edit=str))
        assert app.screen.query_one(TextArea).text == "hm"
        await pilot.press("ctrl+s")
        await open_dialog(app, pilot, ReasonDialog("Reject", "other", required=True, subject="t-2", edit=str))
        assert app.screen.query_one(TextArea).text == ""


async def test_editor_failure_shows_error_and_keeps_text() -> None:
    def fails(*_: object) -> str:
        raise UsageError("vi cannot be started.", "Set another editor.")

    app = WidgetApp()
    async with app.run_test() as pilot:
        dialog = ReasonDialog("Reject", "gateway", required=True, subject="t-1", edit=fails)
        await open_dialog(app, pilot, dialog)
        await pilot.press("h", "m", "ctrl+e")
        await wait_until(pilot, lambda: "vi cannot be started." in app.text())
        await pilot.press("escape")
        assert dialog.query_one(TextArea).text == "hm"


# ---- choices


CHOICES = [("a", "first"), ("b", "second"), ("c", "third")]


@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        (["2"], "b"),
        (["enter"], "b"),
        (["j", "enter"], "c"),
        (["k", "enter"], "a"),
        (["down", "enter"], "c"),
        (["escape"], None),
    ],
)
async def test_pick_dialog_accepts_keys(keys: list[str], answer: str | None) -> None:
    app = WidgetApp()
    async with app.run_test() as pilot:
        await open_dialog(app, pilot, PickDialog("Which", CHOICES, "b"))
        await pilot.press(*keys)
        assert app.answers == [answer]


async def test_pick_dialog_ignores_unknown_number() -> None:
    app = WidgetApp()
    async with app.run_test() as pilot:
        await open_dialog(app, pilot, PickDialog("Which", CHOICES))
        await pilot.press("9")
        assert app.answers == []


async def test_empty_pick_dialog_closes_with_escape() -> None:
    app = WidgetApp()
    async with app.run_test() as pilot:
        await open_dialog(app, pilot, PickDialog("Which", []))
        assert app.screen.query_one(OptionList).option_count == 0
        await pilot.press("j", "1", "enter", "escape")
        assert app.answers == [None]


# ---- texts and errors


async def test_text_dialog_scrolls_copies_and_closes() -> None:
    app = WidgetApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await open_dialog(app, pilot, TextDialog("JSON", "\n".join(f"line {number}" for number in range(200))))
        await pilot.press("G")
        await wait_until(pilot, lambda: "line 199" in app.text())
        await pilot.press("g", "j")
        assert "line 0\n" not in app.text()
        await pilot.press("c")
        assert app.clipboard.startswith("line 0\nline 1\n")
        await pilot.press("q")
        assert app.answers == [None]


async def test_error_dialog_shows_and_copies_details() -> None:
    app = WidgetApp()
    async with app.run_test() as pilot:
        await open_dialog(app, pilot, ErrorDialog(StorageError("The disk is full.", "Make room."), "OSError: 28"))
        for words in ("✗ The disk is full.", "→ Make room.", "code: storage", "OSError: 28"):
            assert words in app.text(), words
        await pilot.press("c")
        assert app.clipboard == "The disk is full.\nMake room.\ncode: storage\nOSError: 28"
        await pilot.press("enter")
        assert app.answers == [None]


# ---- all dialogs

DIALOG_FACTORIES: list[Callable[[str], BaseDialog[Any]]] = [
    lambda text: ErrorDialog(StorageError(text, text), text),
    lambda text: ConfirmDialog("Heading", text),
    lambda text: ReasonDialog("Heading", text, required=True, subject="t", edit=str),
    lambda text: PickDialog("Heading", [("a", text), ("b", Content(repr(text)))]),
    lambda text: TextDialog("Heading", text),
]


def is_shown(app: WidgetApp, words: str) -> Callable[[], bool]:
    return lambda: words in app.text()


@pytest.mark.parametrize("make_dialog", DIALOG_FACTORIES)
async def test_dialogs_escape_hostile_text(make_dialog: Callable[[str], BaseDialog[Any]]) -> None:
    app = WidgetApp()
    async with app.run_test() as pilot:
        for text in HOSTILE:
            await open_dialog(app, pilot, make_dialog(text))
            assert is_harmless(app.text())
            if text.isprintable():
                await wait_until(pilot, is_shown(app, text))
            await pilot.press("escape")
            await wait_until(pilot, lambda: len(app.screen_stack) == 1)


@pytest.mark.parametrize("size", [(80, 24), (60, 18), (120, 40)])
async def test_buttons_stay_visible_with_long_text(size: tuple[int, int]) -> None:
    long = "a sentence that is repeated. " * 40
    app = WidgetApp()
    async with app.run_test(size=size) as pilot:
        for dialog, words in (
            (TypedConfirmDialog("Heading", long, "word", submit_label="Do it"), "Do it"),
            (ReasonDialog("Heading", long, required=True, subject="t", edit=str), "Submit (^s)"),
            (ConfirmDialog("Heading", long, yes="Renew"), "Renew"),
        ):
            await open_dialog(app, pilot, dialog)
            await wait_until(pilot, is_shown(app, words))
            await pilot.press("escape")
            await wait_until(pilot, lambda: len(app.screen_stack) == 1)
