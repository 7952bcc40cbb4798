"""Tests of the choice of columns and sort order of the lists."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from textual.pilot import Pilot

from sealyard_tui.app import SealyardApp
from sealyard_tui.appearance.appearance import Appearance
from sealyard_tui.appearance.preferences import Preferences
from sealyard_tui.appearance.ui_state import ScreenState, UiStateFile
from sealyard_tui.dialogs.columns import ColumnsDialog
from sealyard_tui.screens.approvals.row import sort_tasks
from sealyard_tui.screens.list_screen import ListScreen
from sealyard_tui.widgets.sort_order import SortOrder
from sealyard_tui.widgets.virtual_table import VirtualTable
from tests.tui.pilot_helpers import make_app, run_app, wait_for_workers, wait_until
from tests.tui.task_factories import task
from tests.tui.workspace import NOW, TuiWorkspace

LIST_SCREENS = ("dashboard", "approvals", "audit", "devices", "access")
SORTED_SCREENS = tuple(name for name in LIST_SCREENS if name != "audit")


def table_of(app: SealyardApp) -> VirtualTable[Any]:
    return app.screen.query(VirtualTable).first()


FRAME = 1
"""Width of the frame around the list, in cells."""


def header_of(app: SealyardApp) -> str:
    return "".join(part.text for part in table_of(app).render_line(0))


def shows_title(app: SealyardApp, title: str) -> bool:
    return title in header_of(app)


def app_with_state(workspace: TuiWorkspace, state: UiStateFile, screen: str) -> SealyardApp:
    app = make_app(workspace, "owner" if screen == "approvals" else "administrator", start_screen=screen)
    app.preferences = Preferences(app.settings, state)
    app.appearance = Appearance(app, app.preferences)
    return app


async def press(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await wait_for_workers(pilot)


@pytest.mark.parametrize("screen", LIST_SCREENS)
async def test_hidden_columns_survive_restart(workspace: TuiWorkspace, screen: str) -> None:
    state = UiStateFile()
    app = app_with_state(workspace, state, screen)
    async with run_app(app) as pilot:
        title = table_of(app).columns[1].title
        assert title in header_of(app)
        await pilot.press("o")
        await wait_until(pilot, lambda: isinstance(app.screen, ColumnsDialog))
        app.screen.query_one("#choices").highlighted = 1  # type: ignore[attr-defined]
        await press(pilot, "space", "ctrl+s")
        assert title not in header_of(app)
    restarted = app_with_state(workspace, state, screen)
    async with run_app(restarted):
        assert title not in header_of(restarted)


@pytest.mark.parametrize("screen", SORTED_SCREENS)
async def test_sort_order_survives_restart(workspace: TuiWorkspace, screen: str) -> None:
    state = UiStateFile()
    app = app_with_state(workspace, state, screen)
    async with run_app(app) as pilot:
        assert isinstance(app.screen, ListScreen)
        keys = [each.key for each in table_of(app).columns]
        number = str(1 + (keys.index("name") if "name" in keys else keys.index("subject")))
        await press(pilot, "o", number)
        assert "▲" in header_of(app)
        ascending = [table_of(app)._rows.keys[index] for index in range(len(table_of(app)))]
        await press(pilot, "o", number)
        assert "▼" in header_of(app)
        descending = [table_of(app)._rows.keys[index] for index in range(len(table_of(app)))]
        assert (sorted(ascending), ascending != descending or len(ascending) < 2) == (sorted(descending), True)
    restarted = app_with_state(workspace, state, screen)
    async with run_app(restarted):
        assert "▼" in header_of(restarted)
        assert [table_of(restarted)._rows.keys[index] for index in range(len(descending))] == descending


async def test_escape_keeps_columns(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        header = header_of(app)
        await press(pilot, "o", "space", "escape")
        assert header_of(app) == header


async def test_last_column_cannot_be_hidden(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await press(pilot, "o", "home", *("space", "down") * 7, "ctrl+s")
        assert len(table_of(app).hidden_columns) == 6


async def test_click_on_title_sorts_and_reverses(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        x = header_of(app).index("NAME")
        for arrow in ("▲", "▼", "▲"):
            await pilot.click("#rows", offset=(x + FRAME, FRAME))
            await wait_until(pilot, partial(shows_title, app, f"NAME{arrow}"))
        await pilot.click("#rows", offset=(header_of(app).index("FILE") + FRAME, FRAME))
        await wait_for_workers(pilot)
        assert "NAME▲" in header_of(app)


async def test_saved_order_of_earlier_version_is_read(workspace: TuiWorkspace) -> None:
    state = UiStateFile()
    state.set_screen_state("dashboard", ScreenState(sort="oldest"))
    state.set_screen_state("approvals", ScreenState(sort="all"))
    app = app_with_state(workspace, state, "dashboard")
    async with run_app(app) as pilot:
        assert "AGE▼" in header_of(app)
        await press(pilot, "3")
        assert "AGE▲" in header_of(app)
        assert "pending" in str(app.screen.query_one("#queue").border_title)


def test_natural_order_follows_both_directions() -> None:
    order = SortOrder()
    orders = [order := order.select("name") for _ in range(3)]
    assert orders == [SortOrder(column="name"), SortOrder(column="name", descending=True), SortOrder()]


async def test_pending_tasks_are_sorted_by_each_column(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "owner")
    tasks = [task("t1", name="b"), task("t2", name="A"), task("t3", name="c")]
    for column in ("name", "kind", "device", "requester", "size", "approvals", "expires", "you", "age"):
        ascending = sort_tasks(tasks, SortOrder(column=column), app.state, NOW)
        descending = sort_tasks(tasks, SortOrder(column=column, descending=True), app.state, NOW)
        if column == "name":
            assert [each.id for each in ascending] == ["t2", "t1", "t3"]
            assert descending == ascending[::-1]
        assert len(ascending) == len(descending) == 3, column
