"""`?` explains the keys of the place where one is; the palette reaches everything."""

from __future__ import annotations

from typing import Any

import pytest
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from sealyard.model.errors import StorageError
from sealyard_tui.dialogs.confirm import ConfirmDialog
from sealyard_tui.dialogs.help import HelpScreen
from sealyard_tui.screens.base import SCREENS, BaseScreen
from tests.tui.pilot_helpers import make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import TuiWorkspace


@pytest.mark.parametrize(("key", "close"), [("question_mark", "escape"), ("f1", "q"), ("question_mark", "f1")])
async def test_help_opens_and_closes_by_key(workspace: TuiWorkspace, key: str, close: str) -> None:
    app = make_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press(key)
        await pilot.pause()
        assert isinstance(app.screen, HelpScreen)
        await pilot.press(close)
        assert isinstance(app.screen, BaseScreen)


async def test_help_is_about_the_place_where_one_is(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app, size=(100, 100)) as pilot:
        for place, (key, label) in SCREENS.items():
            await pilot.press(key)
            await wait_for_workers(pilot)
            screen = app.screen
            await pilot.press("question_mark")
            await pilot.pause()
            seen = screen_text(app)
            assert f"Help: {label}" in seen
            assert isinstance(screen, BaseScreen)
            assert screen.help_text.strip().partition("\n")[0][:40] in seen
            assert "Everywhere" in seen
            assert "app.help" in seen
            assert f"app.{place}" in seen
            await pilot.press("escape")


async def test_help_names_every_key_of_an_action_after_a_persons_own_map(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, keymap={"app.quit": "f10,Q"})
    async with run_app(app, size=(100, 100)) as pilot:
        await pilot.press("question_mark")
        await pilot.pause()
        line = next(line for line in screen_text(app).splitlines() if "app.quit" in line)
        assert "f10 Q" in line


async def test_help_scrolls_by_arrows_and_vim_keys_at_80x24(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("question_mark")
        await pilot.pause()
        reading = app.screen.query_one(".reading")
        for there, back in (("G", "g"), ("end", "home"), ("j", "k"), ("down", "up"), ("ctrl+d", "ctrl+u")):
            await pilot.press(there)
            assert reading.scroll_y > 0, there
            await pilot.press(back)
            assert reading.scroll_y == 0, back


async def test_help_over_a_dialog_is_about_the_dialog(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app, size=(100, 40)) as pilot:
        app.push_screen(ConfirmDialog("Sure?", "Really?"))
        await pilot.pause()
        app.action_help()
        await pilot.pause()
        seen = screen_text(app)
        assert "In this dialog" in seen
        assert "dialog.yes" in seen
        assert "screen.refresh" not in seen


# ---- the palette


async def _found(pilot: Pilot[None], query: str) -> list[str]:
    """Opens the palette, types, and gives what it lists."""
    app = pilot.app
    await pilot.press("ctrl+p")
    await wait_until(pilot, lambda: isinstance(app.screen, CommandPalette))
    app.screen.query_one(Input).value = query
    options = app.screen.query_one(OptionList)

    await wait_for_workers(pilot)
    return [_prompt(each.prompt) for each in options.options]


def _prompt(prompt: Any) -> str:
    return str(getattr(prompt, "plain", prompt))


async def _choose(pilot: Pilot[None], query: str) -> None:
    found = await _found(pilot, query)
    assert found
    await pilot.press("enter")
    await wait_for_workers(pilot)


async def test_every_place_is_in_the_palette_with_its_key(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        for place, (key, label) in SCREENS.items():
            assert any(each.startswith(f"{label}  {key}") for each in await _found(pilot, label))
            await pilot.press("enter")
            await wait_for_workers(pilot)
            assert app.current_mode == place


async def test_switches_and_acts_of_the_place_are_in_the_palette(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        for query in ("Mouse", "Compact", "Theme", "Help", "Quit", "Refresh", "Next profile", "Screenshot"):
            assert any(query in each for each in await _found(pilot, query))
            await pilot.press("escape", "escape")


async def test_what_is_chosen_in_the_palette_is_done(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await _choose(pilot, "Compact")
        assert app.has_class("-compact")


async def test_another_person_is_a_command_away(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await _choose(pilot, "Switch to profile owner")
        await wait_until(pilot, lambda: app.state.identity == "USER:owner" and bool(app.state.roles))


async def test_a_task_is_found_by_a_part_of_its_name_or_id(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        for query in ("1.4.2", "t-done"):
            assert any("gateway 1.4.2" in each for each in await _found(pilot, query))
            await pilot.press("escape", "escape")


async def test_of_many_tasks_a_page_is_asked_for_and_nothing_more(empty_workspace: TuiWorkspace) -> None:
    await empty_workspace.add_tasks(300)
    app = make_app(empty_workspace)
    async with run_app(app) as pilot:
        found = await _found(pilot, "copy 0")
        assert len([each for each in found if each.startswith("copy 0")]) == 50


async def test_a_hostile_name_is_harmless_in_the_palette(workspace: TuiWorkspace) -> None:
    await workspace.add_task(name="evil\x1b]2;x\x07[red]\u202e[/x]")
    app = make_app(workspace)
    async with run_app(app) as pilot:
        (found,) = await _found(pilot, "evil")
        assert "evil\\x1b]2;x\\x07[red]\\u202e[/x]" in found


async def test_tasks_that_cannot_be_read_leave_the_palette_as_it_is(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        workspace.faults.fail["tasks"] = StorageError("The disk is gone.")
        assert any("Compact" in each for each in await _found(pilot, "Compact"))
