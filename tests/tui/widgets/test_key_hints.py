"""Tests of the key hints in the footer."""

from __future__ import annotations

import pytest

from sealyard_tui.widgets.key_hints import KeyHintBar
from tests.tui.pilot_helpers import make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import TuiWorkspace


@pytest.mark.parametrize("size", [(60, 18), (80, 24), (120, 40)])
async def test_hints_are_complete_and_include_help(workspace: TuiWorkspace, size: tuple[int, int]) -> None:
    app = make_app(workspace, "administrator")
    async with run_app(app, size=size) as pilot:
        for key in "123456":
            await pilot.press(key)
            await wait_for_workers(pilot)
            line = app.screen.query_one(KeyHintBar)
            footer = screen_text(app).split("\n")[size[1] - 1]
            for hint in line.visible_hints:
                assert f"{hint.display} {hint.label}" in footer
            assert {"Help", "Quit"} <= {each.label for each in line.visible_hints} or app.focused is None
            assert ("…" in footer) == (len(line.visible_hints) < len(line.hints))


async def test_click_on_hint_runs_action(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        line = app.screen.query_one(KeyHintBar)
        column = screen_text(app).split("\n")[39].index("Help")
        await pilot.click(line, offset=(column, 0))
        await wait_until(pilot, lambda: len(app.screen_stack) > 1)
