"""Tests of the form for new device configurations: its layout and its defaults."""

from __future__ import annotations

import pytest
from textual.geometry import Region
from textual.screen import Screen

from sealyard_tui.dialogs.fields import FieldRow
from sealyard_tui.dialogs.form import FormDialog
from tests.tui.form_helpers import open_form
from tests.tui.pilot_helpers import make_app, run_app
from tests.tui.workspace import TuiWorkspace


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
