"""Tests of the warning about the system clock of the engine, and of its confirmation."""

from __future__ import annotations

import pytest
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.widgets import Input

from sealyard.model.audit import AuditAction
from sealyard.model.errors import StorageError
from sealyard.model.formatting import format_time
from sealyard.model.tasks import TaskStatus
from sealyard_tui.app import SealyardApp
from sealyard_tui.dialogs.confirm import TypedConfirmDialog
from sealyard_tui.dialogs.error import ErrorDialog
from sealyard_tui.session.messages import EngineState
from tests.tui.pilot_helpers import (
    assert_visible,
    connection_of,
    make_app,
    run_app,
    screen_text,
    wait_for_workers,
    wait_until,
)
from tests.tui.workspace import ADMINISTRATOR, TuiWorkspace

COMMAND = "Confirm the system clock"


async def hold_changes(workspace: TuiWorkspace) -> None:
    """Set the clock ahead, so that the approval period of `t-waiting` ends and its cancellation is held."""
    await workspace.apply_deadlines()
    workspace.clock.jump(days=60)
    await workspace.apply_deadlines()
    await workspace.advance_clock(minutes=59)
    await workspace.apply_deadlines()
    assert workspace.task("t-waiting").status is TaskStatus.WAITING


def commands(app: SealyardApp) -> list[str]:
    return [command.title for command in app.get_system_commands(app.screen)]


async def open_dialog(pilot: Pilot[None]) -> None:
    """Choose the command in the palette, and wait for the dialog."""
    app = pilot.app
    await pilot.press("ctrl+p")
    await wait_until(pilot, lambda: isinstance(app.screen, CommandPalette))
    app.screen.query_one(Input).value = COMMAND
    await wait_for_workers(pilot)
    await pilot.press("enter")
    await wait_until(pilot, lambda: isinstance(app.screen, TypedConfirmDialog))
    await pilot.pause()


async def test_warning_names_the_way_to_confirm(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator")
    async with run_app(app) as pilot:
        await hold_changes(workspace)
        await wait_until(pilot, lambda: bool(app.state.clock_warning))
        await pilot.pause()
        text = " ".join(screen_text(app).split())
        assert "System clock" in text
        assert "60 days ahead" in text
        assert "(press ^p and choose Confirm the system clock)" in app.state.clock_warning
        await pilot.press("question_mark")
        await pilot.pause()
        assert "60 days ahead" in screen_text(app)


@pytest.mark.parametrize("profile", ["developer", "owner", "auditor"])
async def test_other_users_cannot_confirm(workspace: TuiWorkspace, profile: str) -> None:
    app = make_app(workspace, profile)
    async with run_app(app) as pilot:
        await hold_changes(workspace)
        await wait_until(pilot, lambda: bool(app.state.clock_warning))
        await pilot.pause()
        assert COMMAND not in commands(app)
        assert "60 days ahead" not in screen_text(app)


async def test_typed_confirmation_applies_held_changes(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator")
    async with run_app(app, size=(140, 40)) as pilot:
        await hold_changes(workspace)
        await wait_until(pilot, lambda: bool(app.state.clock_warning))
        await open_dialog(pilot)
        text = " ".join(screen_text(app).replace("│", " ").split())
        assert f"The system time is {format_time(workspace.now)}, 60 days ahead of the expected time." in text
        assert "This cannot be undone." in text
        await pilot.press(*"yes", "enter")
        assert isinstance(app.screen, TypedConfirmDialog)
        app.screen.query_one(Input).value = "clock is right"
        await pilot.press("enter")
        await wait_until(pilot, lambda: "Confirmed the system clock" in screen_text(app))
        assert workspace.task("t-waiting").status is TaskStatus.CANCELLED
        await wait_until(pilot, lambda: not app.state.clock_warning)
    (entry,) = await workspace.audit_entries(AuditAction.UPDATED, "WORKSPACE:w1")
    assert entry.author == ADMINISTRATOR


async def test_dialog_can_be_closed_without_confirming(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator")
    async with run_app(app) as pilot:
        await hold_changes(workspace)
        await open_dialog(pilot)
        await pilot.press("escape")
        await wait_for_workers(pilot)
        assert not workspace.engine.clock_guard.is_trusted()
        assert workspace.task("t-waiting").status is TaskStatus.WAITING


async def test_confirmation_is_cancelled_while_connection_is_lost(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator")
    async with run_app(app, size=(140, 40)) as pilot:
        await hold_changes(workspace)
        await open_dialog(pilot)
        connection_of(app).suspend()
        await wait_until(pilot, lambda: app.state.engine is EngineState.RECONNECTING)
        app.screen.query_one(Input).value = "clock is right"
        await pilot.press("enter")
        await assert_visible(pilot, "Sending… waiting for the server", "1 pending")
        await pilot.press("escape")
        await assert_visible(pilot, "Cancelled. The request was not sent; nothing has changed.")
        connection_of(app).restore()
        await wait_until(pilot, lambda: app.state.engine is EngineState.READY)
        assert not workspace.engine.clock_guard.is_trusted()


async def test_trusted_clock_is_reported(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator")
    async with run_app(app) as pilot:
        app.confirm_clock()
        await wait_until(pilot, lambda: "Nothing was changed." in screen_text(app))
        assert COMMAND in commands(app)


async def test_error_is_shown(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator")
    async with run_app(app) as pilot:
        workspace.faults.fail["confirm_clock"] = StorageError("The disk is gone.")
        app.confirm_clock()
        await wait_until(pilot, lambda: isinstance(app.screen, ErrorDialog))
