"""Tests of the place of the detail: beside the list on wide terminals, otherwise below it or in its place."""

from __future__ import annotations

import pytest
from textual.geometry import Region
from textual.pilot import Pilot
from textual.widget import Widget

from sealyard_tui.app import SealyardApp
from sealyard_tui.widgets.virtual_table import VirtualTable
from tests.tui.pilot_helpers import make_app, run_app, wait_idle, wait_until
from tests.tui.workspace import TuiWorkspace

SCREENS = {"dashboard": "#detail", "approvals": "#review", "audit": "#detail", "devices": "#detail"}


def region_of(app: SealyardApp, selector: str) -> Region:
    return app.screen.query_one(selector).region


async def resize(pilot: Pilot[None], width: int, height: int) -> None:
    await pilot.resize_terminal(width, height)
    await wait_until(pilot, lambda: pilot.app.screen.region.size == (width, height))
    await wait_idle()


@pytest.mark.parametrize("screen", SCREENS)
async def test_detail_is_beside_list_on_wide_terminals(workspace: TuiWorkspace, screen: str) -> None:
    app = make_app(workspace, "owner" if screen == "approvals" else "administrator", start_screen=screen)
    async with run_app(app, size=(160, 24)) as pilot:
        # A list without rows has no detail.
        await wait_until(pilot, lambda: region_of(app, SCREENS[screen]))
        for width, height in ((160, 24), (200, 60)):
            await resize(pilot, width, height)
            table, detail = app.screen.query_one(VirtualTable).region, region_of(app, SCREENS[screen])
            assert detail.x >= table.right
            assert (detail.right, abs(detail.height - table.height) <= 2) == (width, True)
        await resize(pilot, 159, 60)
        await wait_until(pilot, lambda: region_of(app, SCREENS[screen]).width == 159)
        table, detail = app.screen.query_one(VirtualTable).region, region_of(app, SCREENS[screen])
        assert detail.y >= table.bottom


@pytest.mark.parametrize("screen", SCREENS)
async def test_open_detail_keeps_wide_layout(workspace: TuiWorkspace, screen: str) -> None:
    app = make_app(workspace, "owner" if screen == "approvals" else "administrator", start_screen=screen)
    async with run_app(app, size=(160, 24)) as pilot:
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.focused is app.screen.query_one(SCREENS[screen]))
        table = app.screen.query_one(VirtualTable)
        is_shown = all(node.display for node in table.ancestors_with_self if isinstance(node, Widget))
        assert is_shown is (screen != "approvals")
        await pilot.press("escape")
        await wait_idle()
        assert app.focused is app.screen.query_one(VirtualTable)
