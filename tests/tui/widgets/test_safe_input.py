"""What was pasted may hold anything; the terminal gets none of it."""

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
SAFE_ONES = {"safe_input.py", "safe_text_area.py"}


def unsafe(path: Path) -> list[str]:
    """Where a line or a text is made, or derived from, that draws what it holds as it is."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        used = [node.func] if isinstance(node, ast.Call) else node.bases if isinstance(node, ast.ClassDef) else []
        names = {each.id for each in used if isinstance(each, ast.Name)}
        found += [f"{path.relative_to(PACKAGE)}: {name}" for name in names & {"Input", "MaskedInput", "TextArea"}]
    return found


async def pasted(app: SealyardApp, pilot: Pilot[None]) -> str:
    """What is seen after a hostile paste into what has the focus."""
    app.post_message(events.Paste(HOSTILE))
    await pilot.pause()
    await wait_idle()
    return screen_text(app)


def test_nothing_in_the_application_is_typed_into_but_what_draws_harmlessly() -> None:
    sources = [each for each in PACKAGE.rglob("*.py") if each.name not in SAFE_ONES]
    assert len(sources) > 50
    assert [found for each in sources for found in unsafe(each)] == []


async def test_whatever_a_line_holds_is_drawn_harmless_on_every_place(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator", start_screen="audit")
    async with run_app(app) as pilot:
        for place, (key, _) in SCREENS.items():
            app.screen.set_focus(None)
            await pilot.press(key)
            await wait_until(pilot, lambda place=place: app.current_mode == place)  # type: ignore[misc]
            await wait_for_workers(pilot)
            if place != "upload":
                await pilot.press("slash")
            lines = [each for each in app.screen.query(Input) if each.display and not each.disabled]
            assert lines, place
            for line in lines:
                line.value = HOSTILE
                await pilot.pause()
                await assert_visible(pilot, SAFE)
                assert is_harmless(screen_text(app)), (place, line)
                line.value = ""


async def test_a_hostile_paste_into_the_palette_is_not_taken(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("ctrl+p")
        await wait_until(pilot, lambda: app.screen.query(Input))
        assert is_harmless(await pasted(app, pilot))
        await pilot.press(*"au")
        assert app.screen.query_one(Input).value == "au"


async def test_a_hostile_reason_is_drawn_harmless_and_kept(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        app.push_screen(ReasonDialog("Reason", "Why?", required=True, subject="paste", edit=str))
        await wait_until(pilot, lambda: isinstance(app.focused, SafeTextArea))
        seen = await pasted(app, pilot)
        assert SAFE in seen
        assert is_harmless(seen)
        assert app.screen.query_one(TextArea).text == HOSTILE
    ReasonDialog.drafts.clear()


async def test_tabs_in_a_text_are_spaces_on_the_screen() -> None:
    stage = WidgetApp(SafeTextArea("a\tb"))
    async with stage.run_test() as pilot:
        await pilot.pause()
        assert "a   b" in stage.text()
        assert "\t" not in stage.text()


async def test_a_tab_in_a_line_does_not_reach_the_terminal() -> None:
    stage = WidgetApp()
    async with stage.run_test() as pilot:
        await stage.screen.mount(SafeInput("a\tb"))
        await pilot.pause()
        assert "a�b" in stage.text()


async def test_the_word_to_type_is_drawn_harmless() -> None:
    stage = WidgetApp()
    async with stage.run_test() as pilot:
        stage.ask(TypedConfirmDialog("Sure", "Really?", word="yes"))
        await wait_until(pilot, lambda: isinstance(stage.focused, SafeInput))
        stage.post_message(events.Paste(HOSTILE))
        await pilot.pause()
        assert SAFE in stage.text()
        assert is_harmless(stage.text())
