"""Tests of changes that wait for a lost connection: shown as pending, and cancelled for certain."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest
from textual.pilot import Pilot

from sealyard.model.errors import ResultGoneError
from sealyard.model.tasks import ResultState, TaskStatus
from sealyard_tui.app import SealyardApp
from sealyard_tui.dialogs.base import BaseDialog
from sealyard_tui.dialogs.confirm import ConfirmDialog
from sealyard_tui.screens.approvals.dialogs import ApproveDialog, RejectDialog
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.session.messages import EngineState
from tests.tui.approvals_helpers import open_queue, paste_text, wait_for_review
from tests.tui.connection import LOST
from tests.tui.pilot_helpers import (
    assert_visible,
    connection_of,
    make_app,
    run_app,
    screen_text,
    wait_for_workers,
    wait_until,
)
from tests.tui.workspace import TuiWorkspace

SENDING = "Sending… waiting for the server"
NOT_SENT = "Cancelled. The request was not sent; nothing has changed."


@pytest.fixture(autouse=True)
def no_drafts() -> Iterator[None]:
    yield
    ApproveDialog.comments.clear()
    RejectDialog.drafts.clear()


async def suspend_connection(app: SealyardApp, pilot: Pilot[None]) -> None:
    connection_of(app).suspend()
    await wait_until(pilot, lambda: app.state.engine is EngineState.RECONNECTING)


async def restore_connection(app: SealyardApp, pilot: Pilot[None]) -> None:
    connection_of(app).restore()
    await wait_until(pilot, lambda: app.state.engine is EngineState.READY)
    await wait_for_workers(pilot)


async def assert_notice(app: SealyardApp, pilot: Pilot[None], text: str) -> None:
    await wait_until(pilot, lambda: text in [each.message for each in app._notifications])


async def confirm_approval(app: SealyardApp, pilot: Pilot[None]) -> str:
    """Approve the task under the cursor, and return its id."""
    task_id: str = app.screen.query_one("VirtualTable").cursor_key  # type: ignore[attr-defined]
    await pilot.press("A")
    await paste_text(pilot, "gateway")
    await pilot.press("enter")
    return task_id


# ---- dialogs


async def test_approval_waits_visibly_and_is_made_after_reconnect(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await suspend_connection(app, pilot)
        task_id = await confirm_approval(app, pilot)
        await assert_visible(pilot, SENDING, "1 pending", "Press esc to cancel.")
        await wait_until(pilot, lambda: re.search(r"\bsending \d+s", screen_text(app)) is not None)
        assert isinstance(app.screen, ApproveDialog)
        assert workspace.task(task_id).status is TaskStatus.WAITING
        await restore_connection(app, pilot)
        await wait_until(pilot, lambda: isinstance(app.screen, BaseScreen))
        await assert_visible(pilot, "Approved: gateway 1.5.0")
        assert "pending" not in screen_text(app).splitlines()[1]
        assert [each.by for each in workspace.task(task_id).approvals] == ["USER:owner"]


async def test_cancelled_approval_is_never_made(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await suspend_connection(app, pilot)
        task_id = await confirm_approval(app, pilot)
        await assert_visible(pilot, SENDING)
        await pilot.press("escape")
        await assert_visible(pilot, NOT_SENT)
        assert isinstance(app.screen, ApproveDialog), "the dialog keeps its input"
        await restore_connection(app, pilot)
        assert workspace.task(task_id).approvals == ()
        await pilot.press("escape")
        await wait_for_review(app, pilot)
        await assert_visible(pilot, "✓ approve")


async def test_cancelled_approval_that_arrived_is_checked(workspace: TuiWorkspace) -> None:
    gate = workspace.faults.hold_answers["decide"] = asyncio.Event()
    async with open_queue(workspace) as (app, pilot):
        task_id = await confirm_approval(app, pilot)
        await wait_until(pilot, lambda: bool(workspace.task(task_id).approvals))
        await suspend_connection(app, pilot)
        await pilot.press("escape")
        await assert_visible(pilot, "Cancelled, but the request may already have been processed.")
        await pilot.press("escape")
        await restore_connection(app, pilot)
        await assert_notice(app, pilot, "✓ Approval of gateway 1.5.0: the change was made.")
        assert not app.changes.has_unknown_outcomes
        gate.set()


async def test_lost_approval_that_did_not_arrive_is_reported(workspace: TuiWorkspace) -> None:
    workspace.faults.lost_requests["decide"] = LOST
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("A")
        await paste_text(pilot, "gateway")
        await suspend_connection(app, pilot)
        workspace.faults.suspended.set()  # type: ignore[union-attr]
        await pilot.press("enter")
        await assert_visible(pilot, LOST.message)
        await pilot.press("escape")
        await assert_visible(pilot, "? unknown")
        await restore_connection(app, pilot)
        await assert_notice(app, pilot, "! Approval of gateway 1.5.0: the change was not made. Press A to repeat it.")
        assert workspace.task("t-waiting").approvals == ()


async def test_cancelled_bulk_rejection_can_be_repeated_for_the_rest(workspace: TuiWorkspace) -> None:
    await workspace.add_task("t-second", name="gateway 1.5.1")
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("space", "space", "x")
        await paste_text(pilot, "recalled")
        gate = workspace.faults.hold_answers["decide"] = asyncio.Event()
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: len(workspace.faults.calls_of("decide")) == 1)
        await suspend_connection(app, pilot)
        del workspace.faults.hold_answers["decide"]
        gate.set()
        await assert_visible(pilot, SENDING)
        await pilot.press("escape")
        await assert_visible(pilot, "1 of 2 tasks rejected. Cancelled.", "Submit again to repeat the rest.")
        await restore_connection(app, pilot)
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: isinstance(app.screen, BaseScreen))
        await assert_visible(pilot, "Rejected: 2 tasks")


async def test_cancelled_withdrawal_is_never_made(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace)) as pilot:
        await pilot.press("w")
        await paste_text(pilot, "built from the wrong branch")
        await suspend_connection(app, pilot)
        await pilot.press("ctrl+s")
        await assert_visible(pilot, SENDING, "sending ")
        await pilot.press("escape")
        await assert_visible(pilot, NOT_SENT, "built from the wrong branch")
        await restore_connection(app, pilot)
        assert workspace.task("t-waiting").status is TaskStatus.WAITING
        RejectDialog.drafts.clear()


async def test_cancelled_cancellation_is_never_made(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace)) as pilot:
        await suspend_connection(app, pilot)
        await pilot.press("x", "y")
        await assert_visible(pilot, SENDING)
        await pilot.press("n")
        await assert_visible(pilot, NOT_SENT)
        await restore_connection(app, pilot)
        assert workspace.task("t-waiting").status is TaskStatus.WAITING


async def test_cancelled_form_keeps_its_input(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace, "administrator", start_screen="access")) as pilot:
        await pilot.press("n")
        await paste_text(pilot, "maria")
        await suspend_connection(app, pilot)
        await pilot.press("ctrl+s")
        await assert_visible(pilot, SENDING)
        assert [each.change.label for each in app.changes.pending] == ["New subject USER:maria"]
        await pilot.press("escape")
        await assert_visible(pilot, NOT_SENT, "maria")
        await restore_connection(app, pilot)
        assert not workspace.engine.permissions.contains("USER:maria")
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: workspace.engine.permissions.contains("USER:maria"))


async def test_cancelled_key_rotation_is_never_made(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace, "administrator", start_screen="devices")) as pilot:
        await wait_for_workers(pilot)
        await pilot.press("R")
        await assert_visible(pilot, "Choose the key to rotate")
        await pilot.press("1")
        await assert_visible(pilot, "to confirm:")
        await suspend_connection(app, pilot)
        await paste_text(pilot, app.screen._word)  # type: ignore[attr-defined]
        await pilot.press("enter")
        await assert_visible(pilot, SENDING)
        await pilot.press("escape")
        await assert_visible(pilot, NOT_SENT)
        await restore_connection(app, pilot)
        assert {each.current.version for each in await workspace.client("USER:administrator").keys()} == {1}


# ---- changes without a dialog


async def test_pending_renewal_is_marked_and_cancelled_with_escape(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace)) as pilot:
        await select_expired(app, pilot)
        await suspend_connection(app, pilot)
        await pilot.press("e")
        await assert_visible(pilot, "sending ", "1 pending")
        await pilot.press("escape")
        await assert_notice(app, pilot, f"Renewal of the link of gateway 1.4.1: {NOT_SENT} Press e to repeat it.")
        assert isinstance(app.screen, BaseScreen)
        await restore_connection(app, pilot)
        assert_expired(workspace)


def assert_expired(workspace: TuiWorkspace) -> None:
    result = workspace.task("t-expired").result
    assert result is not None
    assert result.state is ResultState.EXPIRED


async def select_expired(app: SealyardApp, pilot: Pilot[None]) -> None:
    app.screen.table.move_cursor_to("t-expired")  # type: ignore[attr-defined]
    await pilot.pause()


async def test_failed_renewal_opens_no_dialog(workspace: TuiWorkspace) -> None:
    workspace.faults.fail["renew"] = ResultGoneError("The file was removed.")
    async with run_app(app := make_app(workspace)) as pilot:
        await select_expired(app, pilot)
        await pilot.press("e")
        await assert_notice(
            app, pilot, "Renewal of the link of gateway 1.4.1: The file was removed. Press e to repeat it."
        )
        assert isinstance(app.screen, BaseScreen)


@pytest.mark.parametrize("key", ["q", "ctrl+q"])
async def test_quitting_asks_about_pending_change(workspace: TuiWorkspace, key: str) -> None:
    async with run_app(app := make_app(workspace)) as pilot:
        await select_expired(app, pilot)
        await suspend_connection(app, pilot)
        await pilot.press("e")
        await assert_visible(pilot, "1 pending")
        await pilot.press(key)
        await assert_visible(pilot, "1 change not sent yet, will be discarded: Renewal")
        assert isinstance(app.screen, ConfirmDialog)
        await pilot.press("n")
        await wait_until(pilot, lambda: not isinstance(app.screen, BaseDialog))
        assert app.changes.pending
        await pilot.press(key, "y")
        await wait_until(pilot, lambda: not app.is_running)
    assert app.discarded_changes.startswith("1 change not sent yet, will be discarded: Renewal of the link")
    assert_expired(workspace)


# ---- permissions


async def test_no_permission_is_shown_before_it_is_loaded(workspace: TuiWorkspace) -> None:
    gate = workspace.faults.hold["counts"] = asyncio.Event()
    app = make_app(workspace, "owner", start_screen="approvals")
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await assert_visible(pilot, "gateway 1.5.0")
        assert "no access" not in screen_text(app)
        assert "✓ approve" not in screen_text(app)
        assert "no role" not in screen_text(app)
        gate.set()
        await assert_visible(pilot, "✓ approve", "product owner")
        await wait_for_workers(pilot)
