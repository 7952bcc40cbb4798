"""Tests of the help screen and the command palette."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from sealyard.model.errors import StorageError
from sealyard_tui.app import SealyardApp
from sealyard_tui.dialogs.confirm import ConfirmDialog
from sealyard_tui.dialogs.help import HelpScreen
from sealyard_tui.messages import ShowRow, ShowTask
from sealyard_tui.screens.base import SCREENS, BaseScreen
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.virtual_table import VirtualTable
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
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


async def test_help_describes_the_current_screen(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app, size=(100, 100)) as pilot:
        for screen_name, (key, label) in SCREENS.items():
            await pilot.press(key)
            await wait_for_workers(pilot)
            screen = app.screen
            await pilot.press("question_mark")
            await pilot.pause()
            text = screen_text(app)
            assert f"Help: {label}" in text
            assert isinstance(screen, BaseScreen)
            assert screen.help_text.strip().partition("\n")[0][:40] in text
            assert "Everywhere" in text
            assert "app.help" in text
            assert f"app.{screen_name}" in text
            await pilot.press("escape")


async def test_help_lists_remapped_keys(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, keymap={"app.quit": "f10,Q"})
    async with run_app(app, size=(100, 100)) as pilot:
        await pilot.press("question_mark")
        await pilot.pause()
        line = next(line for line in screen_text(app).splitlines() if "app.quit" in line)
        assert "f10 Q" in line


async def test_help_scrolls_with_arrow_and_vim_keys(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("question_mark")
        await pilot.pause()
        reading = app.screen.query_one(".reading")
        for forward, back in (("G", "g"), ("end", "home"), ("j", "k"), ("down", "up"), ("ctrl+d", "ctrl+u")):
            await pilot.press(forward)
            assert reading.scroll_y > 0, forward
            await pilot.press(back)
            assert reading.scroll_y == 0, back


async def test_help_over_dialog_describes_the_dialog(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app, size=(100, 40)) as pilot:
        app.push_screen(ConfirmDialog("Sure?", "Really?"))
        await pilot.pause()
        app.action_help()
        await pilot.pause()
        text = screen_text(app)
        assert "In this dialog" in text
        assert "dialog.yes" in text
        assert "screen.refresh" not in text


# ---- rows of other screens


async def test_row_of_screen_that_was_never_shown_is_selected(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator")
    async with run_app(app) as pilot:
        app.switch_mode("access")
        app.post_message(ShowRow("access", "USER:owner"))
        await wait_until(pilot, lambda: _cursor_key(app, "access") == "USER:owner")


async def test_row_is_selected_behind_a_dialog(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator")
    async with run_app(app) as pilot:
        await pilot.press("6")
        await wait_for_workers(pilot)
        app.push_screen(ConfirmDialog("Sure?", "Really?"))
        app.switch_mode("dashboard")
        await pilot.pause()
        app.post_message(ShowRow("access", "USER:owner"))
        await wait_until(pilot, lambda: app.current_mode == "access" and _cursor_key(app, "access") == "USER:owner")
        assert isinstance(app.screen, ConfirmDialog)
        app.switch_mode("dashboard")
        app.push_screen(ConfirmDialog("Sure?", "Really?"))
        app.switch_mode("upload")
        app.post_message(ShowTask("t-done"))
        await wait_until(pilot, lambda: app.current_mode == "dashboard" and _cursor_key(app, "dashboard") == "t-done")


def _cursor_key(app: SealyardApp, mode: str) -> str | None:
    tables = app._screen_stacks[mode][0].query(VirtualTable)
    return tables.first().cursor_key if tables else None


# ---- command palette


async def _search_palette(pilot: Pilot[None], query: str) -> list[str]:
    """Open the palette, type the query, and return the listed options."""
    app = pilot.app
    await pilot.press("ctrl+p")
    await wait_until(pilot, lambda: isinstance(app.screen, CommandPalette))
    app.screen.query_one(Input).value = query
    options = app.screen.query_one(OptionList)

    await wait_for_workers(pilot)
    return [_prompt_text(each.prompt) for each in options.options]


def _prompt_text(prompt: Any) -> str:
    return str(getattr(prompt, "plain", prompt))


async def _choose(pilot: Pilot[None], query: str, text: str = "") -> None:
    """Choose the first option for ``query`` that contains ``text``; several kinds of options may match equally well."""
    results = await _search_palette(pilot, query)
    position = next(index for index, result in enumerate(results) if text in result)
    options = pilot.app.screen.query_one(OptionList)
    options.highlighted = position
    await wait_until(pilot, lambda: options.highlighted == position)
    await pilot.press("enter")
    await wait_for_workers(pilot)


async def test_palette_lists_screens_with_keys(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        for screen_name, (key, label) in SCREENS.items():
            assert any(each.startswith(f"{label}  {key}") for each in await _search_palette(pilot, label))
            await pilot.press("enter")
            await wait_for_workers(pilot)
            assert app.current_mode == screen_name


async def test_palette_lists_settings_and_screen_actions(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        for query in ("Mouse", "Compact", "Theme", "Help", "Quit", "Refresh", "Next profile", "Screenshot"):
            assert any(query in each for each in await _search_palette(pilot, query))
            await pilot.press("escape", "escape")


async def test_palette_selection_runs_command(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await _choose(pilot, "Compact")
        assert app.has_class("-compact")


async def test_palette_command_switches_profile(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await _choose(pilot, "Switch to profile owner")
        await wait_until(pilot, lambda: app.state.identity == "USER:owner" and bool(app.state.roles))


async def test_palette_finds_task_by_partial_text(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        for query in ("1.4.2", "t-done"):
            assert any("gateway 1.4.2" in each for each in await _search_palette(pilot, query))
            await pilot.press("escape", "escape")


async def test_palette_reads_one_page_of_tasks(empty_workspace: TuiWorkspace) -> None:
    await empty_workspace.add_tasks(300)
    app = make_app(empty_workspace)
    async with run_app(app) as pilot:
        results = await _search_palette(pilot, "copy 0")
        assert len([each for each in results if each.startswith("copy 0")]) == 50


async def test_palette_escapes_hostile_task_name(workspace: TuiWorkspace) -> None:
    await workspace.add_task(name="evil\x1b]2;x\x07[red]\u202e[/x]")
    app = make_app(workspace)
    async with run_app(app) as pilot:
        (results,) = await _search_palette(pilot, "evil")
        assert "evil\\x1b]2;x\\x07[red]\\u202e[/x]" in results


async def test_palette_task_read_error_keeps_commands(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        workspace.faults.fail["tasks"] = StorageError("The disk is gone.")
        assert any("Compact" in each for each in await _search_palette(pilot, "Compact"))


@pytest.mark.parametrize(
    ("query", "screen", "key"),
    [("sens", "devices", "sensor"), ("olga", "access", "USER:owner"), ("USER:dev", "access", "USER:developer")],
)
async def test_palette_selects_device_or_person_in_its_list(
    workspace: TuiWorkspace, query: str, screen: str, key: str
) -> None:
    app = make_app(workspace, "administrator")
    async with run_app(app) as pilot:
        # "USER:dev" finds the command that switches to this profile as well.
        await _choose(pilot, query, f"  {SCREENS[screen][1]}")
        await wait_until(pilot, partial(_is_selected, app, screen, key))


def _is_selected(app: SealyardApp, screen: str, key: str) -> bool:
    current = app.screen
    return (
        isinstance(current, BaseScreen) and screen == current.NAME and current.query(VirtualTable)[0].cursor_key == key
    )


async def test_palette_selects_audit_entry_by_number(workspace: TuiWorkspace) -> None:
    await workspace.add_audit_entries(300)
    app = make_app(workspace, "auditor")
    async with run_app(app) as pilot:
        await _choose(pilot, "audit 12", "Audit: entry 12")
        await wait_until(pilot, partial(_is_selected, app, "audit", "12"))
        await _choose(pilot, "audit 99999", "Audit: entry 99999")
        await assert_visible(pilot, "Entry 99999 not found")


async def test_palette_selects_audit_entry_by_text(workspace: TuiWorkspace) -> None:
    await workspace.add_audit_entries(30)
    app = make_app(workspace, "auditor")
    async with run_app(app) as pilot:
        await _choose(pilot, "audit developer refused", "You cannot decide on your own task.")
        await wait_until(pilot, lambda: app.current_mode == "audit")
        await wait_until(pilot, lambda: "REFUSED" in _cursor_line(app))


async def test_palette_filters_whole_audit_log(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "auditor")
    async with run_app(app) as pilot:
        await _choose(pilot, "audit wrong bootloader", "Audit: filter by")
        await wait_until(pilot, lambda: app.current_mode == "audit")
        await wait_until(pilot, lambda: app.screen.query_one(FilterBar).text == "wrong bootloader")


async def test_palette_loads_audit_entries_once_and_only_with_permission(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "auditor")
    async with run_app(app) as pilot:
        await pilot.press("ctrl+p")
        await wait_until(pilot, lambda: isinstance(app.screen, CommandPalette))
        for query in ("aud", "audit", "audit r", "audit re", "audit rej", "audit rejected"):
            app.screen.query_one(Input).value = query
            await wait_for_workers(pilot)
        assert workspace.faults.counts["audit"] == 1
    app = make_app(workspace, "developer")
    async with run_app(app) as pilot:
        assert not any(each.startswith("Audit:") for each in await _search_palette(pilot, "audit rejected"))
        assert workspace.faults.counts["audit"] == 1


def _cursor_line(app: SealyardApp) -> str:
    tables = app.screen.query(VirtualTable)
    row = tables.first().cursor_row if tables else None
    return str(row.change) if row is not None else ""


async def test_palette_shows_row_hidden_by_filter(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator", start_screen="devices", start_filter="gateway")
    async with run_app(app) as pilot:
        assert len(app.screen.query(VirtualTable)[0]) == 1
        app.post_message(ShowRow("devices", "sensor"))
        await wait_until(pilot, partial(_is_selected, app, "devices", "sensor"))
