"""Tests of the form for new device configurations: its layout and its defaults."""

from __future__ import annotations

import pytest
from textual.geometry import Region
from textual.screen import Screen

from sealyard.model.access import Action
from sealyard_tui.dialogs.fields import FieldRow, MultiChoiceLine
from sealyard_tui.dialogs.form import FormDialog
from tests.tui.form_helpers import field_row, open_form, select_values
from tests.tui.pilot_helpers import make_app, run_app, wait_until
from tests.tui.workspace import ADMINISTRATOR, DEVELOPER, OWNER, TuiWorkspace


@pytest.mark.parametrize("size", [(80, 24), (60, 18), (120, 40)])
async def test_form_rows_do_not_move_after_first_paint(
    workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    regions: list[tuple[Region, ...]] = []
    refresh = Screen._compositor_refresh

    def record_regions(screen: Screen[object]) -> None:
        if isinstance(screen, FormDialog) and screen.is_attached:
            regions.append(tuple(row.region for row in screen.query(FieldRow)))
        refresh(screen)

    monkeypatch.setattr(Screen, "_compositor_refresh", record_regions)
    app = make_app(workspace, "administrator", start_screen="devices")
    async with run_app(app, size=size) as pilot:
        await open_form(pilot, "n")
        await pilot.press("down", "down")
        await pilot.pause()
        first_regions = next(each for each in regions if each and each[0].area)
        assert regions[-1] == first_regions


async def test_single_users_with_roles_are_preselected(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator", start_screen="devices")
    async with run_app(app) as pilot:
        await open_form(pilot, "n")
        assert field_row(app, "use").selection == (DEVELOPER,)
        assert field_row(app, "approve").selection == (OWNER,)


async def test_no_user_is_preselected_if_several_have_the_role(workspace: TuiWorkspace) -> None:
    await workspace.add_user("USER:dev2", Action.USE)
    await workspace.add_user("USER:owner2", Action.APPROVE)
    app = make_app(workspace, "administrator", start_screen="devices")
    async with run_app(app) as pilot:
        await open_form(pilot, "n")
        for name, holders in (("use", {DEVELOPER, "USER:dev2"}), ("approve", {OWNER, "USER:owner2"})):
            row = field_row(app, name)
            assert row.selection == ()
            assert isinstance(row.control, MultiChoiceLine)
            assert {value for value, _ in row.control.choices[:2]} == holders
            assert row.control.choices[-1][0] == ADMINISTRATOR


async def test_selected_requester_is_offered_last_as_approver(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator", start_screen="devices")
    async with run_app(app) as pilot:
        await open_form(pilot, "n")
        select_values(app, "use", OWNER)
        approve = field_row(app, "approve").control
        assert isinstance(approve, MultiChoiceLine)
        await wait_until(pilot, lambda: approve.choices[-1][0] == OWNER)
