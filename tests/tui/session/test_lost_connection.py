"""Tests of a lost connection: the status bar, forms that keep their input, and retries."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from sealyard.client.http.status import ConnectionStatus
from sealyard.model.errors import AuthenticationError, DeliveryCertainty, KeyStoreLockedError, ServerUnreachableError
from sealyard_tui.app import SealyardApp
from sealyard_tui.dialogs.base import BaseDialog
from sealyard_tui.dialogs.confirm import ConfirmDialog
from sealyard_tui.dialogs.error import ErrorDialog
from sealyard_tui.dialogs.reason import ReasonDialog
from sealyard_tui.formatting import format_clock
from sealyard_tui.screens.approvals.dialogs import ApproveDialog, RejectDialog
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.screens.upload.screen import UploadScreen
from sealyard_tui.session.messages import ConnectionMode, EngineState
from tests.tui.approvals_helpers import open_queue, paste_text, wait_for_review
from tests.tui.connection import LOST, FakeConnection
from tests.tui.pilot_helpers import (
    assert_visible,
    connection_of,
    make_app,
    run_app,
    screen_text,
    wait_for_workers,
    wait_until,
)
from tests.tui.workspace import NOW, TuiWorkspace


async def lose_connection(app: SealyardApp, pilot: Pilot[None]) -> None:
    connection_of(app).lose()
    await wait_until(pilot, lambda: app.state.engine is EngineState.RECONNECTING)


async def restore_connection(app: SealyardApp, pilot: Pilot[None], mode: ConnectionMode | None = None) -> None:
    connection_of(app).restore(mode)
    await wait_until(pilot, lambda: app.state.engine is EngineState.READY)
    await wait_for_workers(pilot)


async def test_all_screens_show_time_of_loss(
    workspace: TuiWorkspace,
) -> None:
    async with run_app(app := make_app(workspace)) as pilot:
        await lose_connection(app, pilot)
        for key in "123456":
            await pilot.press(key)
            await wait_for_workers(pilot)
            last = format_clock(NOW - timedelta(seconds=6))
            assert f"reconnecting since {format_clock(NOW)} (last response {last})" in screen_text(app), key
            assert not isinstance(app.screen, BaseDialog), key
        await restore_connection(app, pilot)
        await assert_visible(pilot, "● ready")


async def test_list_shows_age_until_reconnect(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace)) as pilot:
        workspace.clock.advance(minutes=5)
        await lose_connection(app, pilot)
        await workspace.add_task("t-unheard", name="came meanwhile")
        await pilot.press("r")
        await wait_for_workers(pilot)
        await assert_visible(pilot, "gateway 1.4.3", f"as of {format_clock(NOW)}")
        assert isinstance(app.screen, BaseScreen), "background reads open no dialog"
        assert "came meanwhile" not in screen_text(app)
        await restore_connection(app, pilot)
        await assert_visible(pilot, "came meanwhile", "updated 0 s ago")


async def test_screen_opened_offline_loads_after_reconnect(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace, "administrator")) as pilot:
        await lose_connection(app, pilot)
        await pilot.press("5")
        await wait_for_workers(pilot)
        assert app.current_mode == "devices"
        assert "sensor" not in screen_text(app)
        await restore_connection(app, pilot)
        await assert_visible(pilot, "sensor")


async def test_failed_approval_keeps_input_for_retry(
    workspace: TuiWorkspace,
) -> None:
    async with open_queue(workspace) as (app, pilot):
        first = next(iter(row.id for row in app.screen.query_one("VirtualTable").rows))  # type: ignore[attr-defined]
        await pilot.press("A")
        await paste_text(pilot, "gateway")
        await pilot.press("tab")
        await paste_text(pilot, "tested on the bench")
        await lose_connection(app, pilot)
        await pilot.press("enter")
        await assert_visible(pilot, f"✗ {LOST.message}")
        assert isinstance(app.screen, ApproveDialog)
        assert app.screen.query_one("#comment", Input).value == "tested on the bench"
        await restore_connection(app, pilot)
        await pilot.press("enter")
        await wait_until(pilot, lambda: not isinstance(app.screen, ApproveDialog))
        await wait_for_review(app, pilot)
        assert [(each.by, each.reason) for each in workspace.task(first).approvals] == [
            ("USER:owner", "tested on the bench")
        ]
    ApproveDialog.comments.clear()


async def test_failed_rejection_keeps_reason_for_retry(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("x")
        await paste_text(pilot, "the wrong bootloader")
        await lose_connection(app, pilot)
        await pilot.press("ctrl+s")
        await assert_visible(pilot, f"✗ {LOST.message}")
        assert isinstance(app.screen, RejectDialog)
        assert app.screen.query_one(TextArea).text == "the wrong bootloader"
        await restore_connection(app, pilot)
        await pilot.press("ctrl+s")
        await wait_for_review(app, pilot)
        assert [name for name, _ in workspace.faults.calls] == ["decide", "decide"]
        await assert_visible(pilot, "rejected")


async def test_failed_withdrawal_keeps_reason_for_retry(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace)) as pilot:
        await pilot.press("w")
        await paste_text(pilot, "built from the wrong branch")
        await lose_connection(app, pilot)
        await pilot.press("ctrl+s")
        await assert_visible(pilot, f"✗ {LOST.message}")
        assert isinstance(app.screen, ReasonDialog)
        await restore_connection(app, pilot)
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "withdrawn")
        assert workspace.task("t-waiting").reason == "Withdrawn by USER:developer: built from the wrong branch"


async def test_failed_form_keeps_input_for_retry(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace, "administrator", start_screen="access")) as pilot:
        await pilot.press("n")
        await paste_text(pilot, "maria")
        await lose_connection(app, pilot)
        await pilot.press("ctrl+s")
        await assert_visible(pilot, f"✗ {LOST.message}", "maria")
        await restore_connection(app, pilot)
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: workspace.engine.permissions.contains("USER:maria"))


# ---- tasks


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    path = tmp_path / "application.bin"
    path.write_bytes(b"firmware" * 100)
    return path


async def fill_upload_form(app: SealyardApp, pilot: Pilot[None], firmware: Path) -> UploadScreen:
    await wait_until(pilot, lambda: isinstance(app.screen, UploadScreen))
    screen = app.screen
    assert isinstance(screen, UploadScreen)
    screen.form.device = "gw"
    screen.add_paths((firmware,))
    # Uploads are not workers of the application; the form cannot be submitted before they end.
    await wait_until(pilot, lambda: not any(entry.is_pending for entry in screen.form.entries))
    await wait_for_workers(pilot)
    return screen


async def submit(pilot: Pilot[None]) -> None:
    await pilot.press("ctrl+s")
    await wait_until(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
    await pilot.press("y")


async def test_lost_response_creates_task_once(workspace: TuiWorkspace, firmware: Path) -> None:
    async with run_app(app := make_app(workspace, start_screen="upload")) as pilot:
        screen = await fill_upload_form(app, pilot, firmware)
        before = len(workspace.tasks())
        workspace.faults.lost_answers["create_package"] = LOST
        await submit(pilot)
        await assert_visible(pilot, f"✗ {LOST.message}")
        await pilot.press("escape")
        assert [each.path for each in screen.form.entries] == [firmware], "the form is unchanged"
        await submit(pilot)
        await assert_visible(pilot, "Created task")
        first, second = [request for (request,) in workspace.faults.calls_of("create_package")]
        assert first.client_token == second.client_token
        assert len(workspace.tasks()) == before + 1


async def test_failed_upload_is_retried_after_reconnect(workspace: TuiWorkspace, firmware: Path) -> None:
    async with run_app(app := make_app(workspace, start_screen="upload")) as pilot:
        await wait_until(pilot, lambda: isinstance(app.screen, UploadScreen))
        await lose_connection(app, pilot)
        screen = await fill_upload_form(app, pilot, firmware)
        await wait_until(pilot, lambda: isinstance(screen.form.entries[0].error, ServerUnreachableError))
        await restore_connection(app, pilot)
        await wait_until(pilot, lambda: screen.form.entries[0].file is not None)


# ---- connection status


async def test_takeover_is_shown(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, connection=FakeConnection(workspace, mode=ConnectionMode.ATTACHED))
    async with run_app(app) as pilot:
        await pilot.press("question_mark")
        await assert_visible(pilot, "Connected to another process on this machine")
        await pilot.press("escape")
        await lose_connection(app, pilot)
        await restore_connection(app, pilot, ConnectionMode.OWNER)
        await assert_visible(pilot, "The previous owner exited")
        await pilot.press("question_mark")
        await assert_visible(pilot, "This application owns the workspace")


async def test_failed_takeover_shows_one_error(
    workspace: TuiWorkspace,
) -> None:
    app = make_app(workspace, connection=FakeConnection(workspace, mode=ConnectionMode.ATTACHED))
    locked = KeyStoreLockedError("Wrong passphrase for the key store.")
    async with run_app(app) as pilot:
        await lose_connection(app, pilot)
        connection_of(app).on_error(locked)
        await assert_visible(pilot, "Not connected", locked.message)
        workspace.faults.fail["tasks"] = locked
        workspace.faults.lost = None
        await pilot.press("r")
        await wait_for_workers(pilot)
        assert isinstance(app.screen, BaseScreen)
        assert app.state.engine is EngineState.RECONNECTING


async def test_unreachable_server_is_retried_at_start(workspace: TuiWorkspace) -> None:
    connection = FakeConnection(workspace, mode=ConnectionMode.SERVER, host="seal.example")
    workspace.faults.lost = LOST
    app = make_app(workspace, connection=connection)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await assert_visible(pilot, LOST.message, "seal.example")
        connection.report(ConnectionStatus(reconnecting_since=NOW))
        await assert_visible(pilot, f"reconnecting since {format_clock(NOW)} (no response yet)")
        assert not isinstance(app.screen, BaseDialog)
        connection.restore()
        await assert_visible(pilot, "● ready", "gateway 1.4.3")


@pytest.mark.parametrize("reach", [DeliveryCertainty.UNTRUSTED, DeliveryCertainty.NOT_POSSIBLE])
async def test_untrusted_server_is_not_retried(workspace: TuiWorkspace, reach: DeliveryCertainty) -> None:
    workspace.faults.fail["workspace"] = ServerUnreachableError("It is not trusted.", reach=reach)
    app = make_app(workspace)
    async with app.run_test() as pilot:
        await wait_until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        assert app.state.engine is EngineState.FAILED


async def test_invalid_token_is_shown_once(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace)) as pilot:
        ended = "The token is not valid here."
        for method in ("tasks", "counts", "devices", "workspace"):
            workspace.faults.fail[method] = AuthenticationError(ended)
        for _ in range(3):
            await pilot.press("r")
            await wait_for_workers(pilot)
        assert sum(isinstance(each, ErrorDialog) for each in app.screen_stack) == 1


async def test_rejected_event_stream_shows_failure(workspace: TuiWorkspace) -> None:
    workspace.faults.fail["events"] = AuthenticationError("The token is not valid here.")
    app = make_app(workspace)
    async with app.run_test() as pilot:
        await assert_visible(pilot, "The token is not valid here.", "failed")


async def test_slow_refresh_does_not_hide_lost_connection(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace)) as pilot:
        gate = workspace.faults.hold["counts"] = asyncio.Event()
        workspace.faults.counts.clear()
        await workspace.add_task(name="another")
        await wait_until(pilot, lambda: workspace.faults.counts["counts"])
        connection_of(app).report(ConnectionStatus(last_answer_at=NOW, reconnecting_since=NOW))
        await wait_until(pilot, lambda: app.state.engine is EngineState.RECONNECTING)
        gate.set()
        await wait_for_workers(pilot)
        assert app.state.engine is EngineState.RECONNECTING
