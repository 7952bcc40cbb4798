"""Tests of the dialogs for decisions: their effect is always visible, and names take one line each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input, TextArea

from sealyard_tui.app import SealyardApp
from sealyard_tui.dialogs.base import BaseDialog, DialogText
from tests.tui.approvals_helpers import approvals_table, open_queue, wait_for_review
from tests.tui.pilot_helpers import screen_text, wait_for_workers, wait_until
from tests.tui.workspace import METADATA, TuiWorkspace

NAME = f"gateway {'long name ' * 15}1.5.2"
FILES = {f"{'part-' * 20}{number}.bin": bytes([number]) * 700 for number in range(9)}
SIZES = [(80, 24), (60, 18), (60, 15)]
FINAL_APPROVAL = "This is the final approval. The task will be signed and released immediately. This cannot be undone."


@asynccontextmanager
async def open_dialog(
    workspace: TuiWorkspace, size: tuple[int, int], *keys: str
) -> AsyncIterator[tuple[SealyardApp, Pilot[None]]]:
    """Open a dialog for a task with long names."""
    task = await workspace.add_task("t-long", name=NAME, firmware=FILES, metadata=METADATA)
    async with open_queue(workspace) as (app, pilot):
        approvals_table(app).move_cursor_to(task.id)
        await wait_for_review(app, pilot)
        await pilot.press(*keys)
        await wait_until(pilot, lambda: isinstance(app.screen, BaseDialog) and bool(app.screen.query(DialogText)))
        await pilot.resize_terminal(*size)
        await wait_until(pilot, lambda: app.screen.size == size)
        await wait_for_workers(pilot)
        await pilot.pause()
        yield app, pilot


def dialog_words(app: SealyardApp) -> str:
    """Return the text of the dialog without borders and line breaks."""
    region = app.screen.query_one(".dialog").region
    lines = [line[region.x : region.right] for line in screen_text(app).splitlines()[region.y : region.bottom]]
    return " ".join(" ".join(lines).replace("│", " ").split())


def assert_inputs_fit(app: SealyardApp) -> None:
    for widget in (*app.screen.query(Input), *app.screen.query(TextArea), *app.screen.query(Button)):
        assert app.screen.query_one(".dialog").region.contains_region(widget.region), widget
        assert widget.region.bottom < app.screen.size.height, widget


@pytest.mark.parametrize("size", SIZES)
async def test_approval_shows_effect(workspace: TuiWorkspace, size: tuple[int, int]) -> None:
    async with open_dialog(workspace, size, "A") as (app, _):
        words = dialog_words(app)
        assert FINAL_APPROVAL in words
        assert "You have not read the review to the end." in words
        assert_inputs_fit(app)


@pytest.mark.parametrize("size", SIZES)
async def test_bulk_approval_shows_effect(workspace: TuiWorkspace, size: tuple[int, int]) -> None:
    async with open_dialog(workspace, size, "space", "up", "space", "A") as (app, _):
        assert "will be signed and released immediately. This cannot be undone." in dialog_words(app)
        assert_inputs_fit(app)


@pytest.mark.parametrize("size", SIZES)
async def test_rejection_shows_effect(workspace: TuiWorkspace, size: tuple[int, int]) -> None:
    async with open_dialog(workspace, size, "x") as (app, _):
        assert "A rejection ends the task and cannot be undone." in dialog_words(app)
        assert_inputs_fit(app)


async def test_names_are_cut_to_one_line(workspace: TuiWorkspace) -> None:
    async with open_dialog(workspace, (60, 18), "A") as (app, _):
        text = app.screen.query_one(DialogText).children[0].render()
        lines = str(text).splitlines()
        assert [line.split()[0] for line in lines[:4]] == ["task", "device", "digest", "files"]
        assert lines[0].startswith("task    gateway long name ")
        assert lines[0].endswith("1.5.2")
        assert lines[-1].strip() == "and 7 more"
        assert all(len(line) <= 46 for line in lines)
