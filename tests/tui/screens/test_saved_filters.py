"""Tests of the named filters of the lists."""

from __future__ import annotations

from textual.pilot import Pilot

from sealyard_tui.app import SealyardApp
from sealyard_tui.appearance.appearance import Appearance
from sealyard_tui.appearance.preferences import Preferences
from sealyard_tui.appearance.ui_state import UiStateFile
from sealyard_tui.dialogs.filters import FiltersDialog
from sealyard_tui.messages import ShowFilter
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.virtual_table import VirtualTable
from tests.tui.pilot_helpers import make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import TuiWorkspace


def app_with_state(workspace: TuiWorkspace, state: UiStateFile) -> SealyardApp:
    app = make_app(workspace)
    app.preferences = Preferences(app.settings, state)
    app.appearance = Appearance(app, app.preferences)
    return app


def row_count(app: SealyardApp) -> int:
    return len(app.screen.query(VirtualTable)[0])


async def open_filters(pilot: Pilot[None]) -> None:
    await pilot.press("F")
    await wait_until(pilot, lambda: isinstance(pilot.app.screen, FiltersDialog))


async def test_filter_is_saved_applied_and_deleted(workspace: TuiWorkspace) -> None:
    state = UiStateFile()
    app = app_with_state(workspace, state)
    async with run_app(app) as pilot:
        await open_filters(pilot)
        assert "No saved filters yet" in screen_text(app)
        await pilot.press("escape", "slash", *"status:failed", "enter")
        await wait_until(pilot, lambda: row_count(app) == 1 and isinstance(app.focused, VirtualTable))
        await open_filters(pilot)
        await pilot.press(*"broken x1", "enter")
        await wait_for_workers(pilot)
        await pilot.press("escape")
        await wait_until(pilot, lambda: row_count(app) > 1)
    restarted = app_with_state(workspace, state)
    async with run_app(restarted) as pilot:
        await open_filters(pilot)
        assert "broken x1  status:failed" in screen_text(restarted)
        await pilot.press("1")
        await wait_until(pilot, lambda: row_count(restarted) == 1)
        assert restarted.screen.query_one(FilterBar).text == "status:failed"
        await open_filters(pilot)
        await pilot.press("x")
        await wait_for_workers(pilot)
        assert state.view("dashboard").filters == {}


async def test_saved_filter_is_applied_from_other_screen(workspace: TuiWorkspace) -> None:
    state = UiStateFile()
    app = app_with_state(workspace, state)
    async with run_app(app) as pilot:
        await pilot.press("5")
        await wait_for_workers(pilot)
        app.post_message(ShowFilter("dashboard", "status:failed"))
        await wait_until(pilot, lambda: app.current_mode == "dashboard" and row_count(app) == 1)
