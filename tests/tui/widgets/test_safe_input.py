"""Tests of inputs that escape control characters in pasted text."""

from __future__ import annotations

import ast
from pathlib import Path

from textual import events
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

import sealyard_tui
from sealyard_tui.app import SealyardApp
from sealyard_tui.dialogs.confirm import TypedConfirmDialog
from sealyard_tui.dialogs.reason import ReasonDialog
from sealyard_tui.screens.base import SCREENS
from sealyard_tui.widgets.safe_input import SafeInput
from sealyard_tui.widgets.safe_text_area import SafeTextArea
from tests.tui.pilot_helpers import (
    assert_visible,
    make_app,
    run_app,
    screen_text,
    wait_for_workers,
    wait_idle,
    wait_until,
)
from tests.tui.widget_app import WidgetApp, is_harmless
from tests.tui.workspace import TuiWorkspace

HOSTILE = "a\x1b]2;PWNED\x07b\u202ec\x9bd"
SAFE = "a�]2;PWNED�b�c�d"

PACKAGE = Path(sealyard_tui.__file__).parent
SAFE_MODULES = {"safe_input.py", "safe_text_area.py"}


def find_unsafe_inputs(path: Path) -> list[str]:
    """Return the uses of input widgets that draw their text unescaped."""
    problems = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        references = [node.func] if isinstance(node, ast.Call) else node.bases if isinstance(node, ast.ClassDef) else []
        names = {each.id for each in references if isinstance(each, ast.Name)}
        problems += [f"{path.relative_to(PACKAGE)}: {name}" for name in names & {"Input", "MaskedInput", "TextArea"}]
    return problems


async def paste_hostile_text(app: SealyardApp, pilot: Pilot[None]) -> str:
    """Paste hostile text into the focused widget, and return the screen text."""
    app.post_message(events.Paste(HOSTILE))
    await pilot.pause()
    await wait_idle()
    return screen_text(app)


def test_application_uses_only_safe_inputs() -> None:
    sources = [each for each in PACKAGE.rglob("*.py") if each.name not in SAFE_MODULES]
    assert len(sources) > 50
    assert [problems for each in sources for problems in find_unsafe_inputs(each)] == []


async def test_all_screen_inputs_escape_hostile_text(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator", start_screen="audit")
    async with run_app(app) as pilot:
        for screen_name, (key, _) in SCREENS.items():
            app.screen.set_focus(None)
            await pilot.press(key)
            await wait_until(pilot, lambda screen_name=screen_name: app.current_mode == screen_name)  # type: ignore[misc]
            await wait_for_workers(pilot)
            if screen_name != "upload":
                await pilot.press("slash")
            lines = [each for each in app.screen.query(Input) if each.display and not each.disabled]
            assert lines, screen_name
            for line in lines:
                line.value = HOSTILE
                await pilot.pause()
                await assert_visible(pilot, SAFE)
                assert is_harmless(screen_text(app)), (screen_name, line)
                line.value = ""


async def test_palette_ignores_hostile_paste(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("ctrl+p")
        await wait_until(pilot, lambda: app.screen.query(Input))
        assert is_harmless(await paste_hostile_text(app, pilot))
        await pilot.press(*"au")
        assert app.screen.query_one(Input).value == "au"


async def test_text_area_escapes_display_and_keeps_text(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        app.push_screen(ReasonDialog("Reason", "Why?", required=True, subject="paste", edit=str))
        await wait_until(pilot, lambda: isinstance(app.focused, SafeTextArea))
        text = await paste_hostile_text(app, pilot)
        assert SAFE in text
        assert is_harmless(text)
        assert app.screen.query_one(TextArea).text == HOSTILE
    ReasonDialog.drafts.clear()


async def test_text_area_shows_tabs_as_spaces() -> None:
    app = WidgetApp(SafeTextArea("a\tb"))
    async with app.run_test() as pilot:
        await pilot.pause()
        assert "a   b" in app.text()
        assert "\t" not in app.text()


async def test_input_replaces_tab_on_screen() -> None:
    app = WidgetApp()
    async with app.run_test() as pilot:
        await app.screen.mount(SafeInput("a\tb"))
        await pilot.pause()
        assert "a�b" in app.text()


async def test_typed_confirmation_escapes_hostile_paste() -> None:
    app = WidgetApp()
    async with app.run_test() as pilot:
        app.ask(TypedConfirmDialog("Sure", "Really?", word="yes"))
        await wait_until(pilot, lambda: isinstance(app.focused, SafeInput))
        app.post_message(events.Paste(HOSTILE))
        await pilot.pause()
        assert SAFE in app.text()
        assert is_harmless(app.text())
