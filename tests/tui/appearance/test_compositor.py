"""Test the repaint of regions that a hidden widget covered."""

from __future__ import annotations

from typing import Any

import pytest
from textual._compositor import ChopsUpdate

from sealyard_tui.app import SealyardApp
from sealyard_tui.widgets.flash import Flash
from tests.tui.pilot_helpers import make_app, run_app, wait_until
from tests.tui.workspace import TuiWorkspace


async def test_hidden_widget_region_is_repainted(workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    painted: list[int] = []

    def display(app: SealyardApp, screen: Any, renderable: Any) -> None:
        if isinstance(renderable, ChopsUpdate):
            painted.extend(row for row, _, _ in renderable.spans)
        elif renderable is not None:
            painted.extend(range(app.size.height))

    app = make_app(workspace, "developer", start_screen="upload")
    async with run_app(app) as pilot:
        line = app.screen.query_one(Flash)
        line.show("Already added")
        await wait_until(pilot, lambda: line.region)
        row = line.region.y
        monkeypatch.setattr(SealyardApp, "_display", display)
        await pilot.pause()
        painted.clear()
        # Scrolling leaves the map in this state.
        app.screen._compositor._full_map_invalidated = True
        line._hide()
        assert app.screen.find_widget(app.screen.query_one("#submit")).region
        await wait_until(pilot, lambda: row in painted)
