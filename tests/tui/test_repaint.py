"""Test that a screen is not drawn while updates are batched."""

from __future__ import annotations

from typing import Any

import pytest
from textual._compositor import Compositor

from tests.tui.pilot_helpers import make_app, run_app, wait_until
from tests.tui.workspace import TuiWorkspace


async def test_batched_update_is_drawn_on_refresh(workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(workspace)
    drawn: list[object] = []
    render = Compositor.render_update

    def record_render(self: Compositor, **options: Any) -> object:
        drawn.append(self)
        return render(self, **options)

    async with run_app(app) as pilot:
        monkeypatch.setattr(Compositor, "render_update", record_render)
        with app.batch_update():
            app.screen.refresh(layout=True)
            app.screen._refresh_layout()
            await pilot.pause()
            assert drawn == []
        app.screen.refresh()
        await wait_until(pilot, lambda: drawn)
