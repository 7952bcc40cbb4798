"""Tests of screens and dialogs whose list has no rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealyard_tui.dialogs.base import BaseDialog
from sealyard_tui.screens.base import SCREENS
from sealyard_tui.screens.dashboard.screen import DashboardScreen
from sealyard_tui.widgets.virtual_table import VirtualTable
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import TuiWorkspace


async def test_detail_is_shown_as_soon_as_list_has_rows(empty_workspace: TuiWorkspace) -> None:
    app = make_app(empty_workspace)
    async with run_app(app, size=(120, 40)) as pilot:
        await assert_visible(pilot, "No tasks yet.", "Press n to create the first package.")
        dashboard = app.screen
        assert isinstance(dashboard, DashboardScreen)
        assert not dashboard.pane.display
        assert dashboard.table.size == dashboard.table.outer_size
        await empty_workspace.add_task("t-new", name="gateway 1.6.0")
        await wait_until(pilot, lambda: dashboard.pane.task_id == "t-new")
        assert dashboard.pane.display
        await assert_visible(pilot, " 1 task · newest first")


@pytest.mark.parametrize("name", ["dashboard", "approvals", "audit", "devices", "access"])
async def test_filter_without_match_says_how_to_clear_it(workspace: TuiWorkspace, name: str) -> None:
    profile_name = {"approvals": "owner", "audit": "auditor"}.get(name, "administrator")
    app = make_app(workspace, profile_name, start_screen=name)
    async with run_app(app, size=(80, 24)) as pilot:
        await wait_for_workers(pilot)
        await wait_until(pilot, lambda: len(app.screen.query(VirtualTable).first()))
        await pilot.press("slash", *"qqqqq", "enter")
        await assert_visible(pilot, "match the filter.", "Press esc to clear it")
        await pilot.press("escape")
        await wait_until(pilot, lambda: "match the filter." not in screen_text(app))


@pytest.mark.parametrize(
    ("screen_name", "key", "text"),
    [("dashboard", "L", "Press d on the dashboard"), ("access", "N", "No notification targets yet")],
)
async def test_dialog_without_entries_is_small(
    empty_workspace: TuiWorkspace, tmp_path: Path, screen_name: str, key: str, text: str
) -> None:
    app = make_app(empty_workspace, "administrator", start_screen=screen_name)
    async with run_app(app, size=(120, 40)) as pilot:
        app.download_manager.folder = tmp_path
        await wait_for_workers(pilot)
        await pilot.press(key)
        await wait_until(pilot, lambda: isinstance(app.screen, BaseDialog))
        await assert_visible(pilot, text)
        assert app.screen.query_one(".dialog").outer_size.height < app.size.height // 2


def test_every_screen_is_covered() -> None:
    assert set(SCREENS) - {"upload"} == {"dashboard", "approvals", "audit", "devices", "access"}
