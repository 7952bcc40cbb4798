"""A line that is lost: seen at the top of the screen, no dialog after dialog, and nothing typed is lost with it."""

from __future__ import annotations

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


async def test_since_when_it_is_lost_and_when_the_last_answer_came_is_seen_on_every_place(
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


async def test_the_list_stays_as_it_was_says_of_when_it_is_and_is_read_anew_afterwards(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace)) as pilot:
        workspace.clock.advance(minutes=5)
        await lose_connection(app, pilot)
        await workspace.add_task("t-unheard", name="came meanwhile")
        await pilot.press("r")
        await wait_for_workers(pilot)
        await assert_visible(pilot, "gateway 1.4.3", f"as of {format_clock(NOW)}")
        assert isinstance(app.screen, BaseScreen), "no dialog for what nobody asked for"
        assert "came meanwhile" not in screen_text(app)
        await restore_connection(app, pilot)
        await assert_visible(pilot, "came meanwhile", "updated 0 s ago")


async def test_a_place_first_seen_while_it_is_lost_is_filled_when_it_is_back(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace, "administrator")) as pilot:
        await lose_connection(app, pilot)
        await pilot.press("5")
        await wait_for_workers(pilot)
        assert app.current_mode == "devices"
        assert "sensor" not in screen_text(app)
        await restore_connection(app, pilot)
        await assert_visible(pilot, "sensor")


async def test_an_approval_that_gets_no_answer_is_asked_for_again_with_all_that_was_typed(
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


async def test_a_rejection_that_gets_no_answer_is_asked_for_again_with_its_reason(workspace: TuiWorkspace) -> None:
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


async def test_a_withdrawal_that_gets_no_answer_is_asked_for_again_with_its_reason(workspace: TuiWorkspace) -> None:
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


async def test_a_form_keeps_what_was_typed_and_can_be_handed_in_again(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace, "administrator", start_screen="access")) as pilot:
        await pilot.press("n")
        await paste_text(pilot, "maria")
        await lose_connection(app, pilot)
        await pilot.press("ctrl+s")
        await assert_visible(pilot, f"✗ {LOST.message}", "maria")
        await restore_connection(app, pilot)
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: workspace.engine.permissions.contains("USER:maria"))


# ---- a task


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    path = tmp_path / "application.bin"
    path.write_bytes(b"firmware" * 100)
    return path


async def form_with(app: SealyardApp, pilot: Pilot[None], firmware: Path) -> UploadScreen:
    await wait_until(pilot, lambda: isinstance(app.screen, UploadScreen))
    place = app.screen
    assert isinstance(place, UploadScreen)
    place.form.device = "gw"
    place.add_paths((firmware,))
    # Uploads are not workers of the application; the form cannot be submitted before they end.
    await wait_until(pilot, lambda: not any(entry.is_pending for entry in place.form.entries))
    await wait_for_workers(pilot)
    return place


async def submit(pilot: Pilot[None]) -> None:
    await pilot.press("ctrl+s")
    await wait_until(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
    await pilot.press("y")


async def test_a_task_asked_for_twice_because_its_answer_was_lost_is_made_once(
    workspace: TuiWorkspace, firmware: Path
) -> None:
    async with run_app(app := make_app(workspace, start_screen="upload")) as pilot:
        place = await form_with(app, pilot, firmware)
        before = len(workspace.tasks())
        workspace.faults.lost_answers["create_package"] = LOST
        await submit(pilot)
        await wait_until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        await pilot.press("escape")
        assert [each.path for each in place.form.entries] == [firmware], "the form is as it was"
        await submit(pilot)
        await assert_visible(pilot, "Created task")
        first, second = [request for (request,) in workspace.faults.calls_of("create_package")]
        assert first.client_token == second.client_token
        assert len(workspace.tasks()) == before + 1


async def test_a_file_that_could_not_be_handed_in_is_handed_in_when_the_line_is_back(
    workspace: TuiWorkspace, firmware: Path
) -> None:
    async with run_app(app := make_app(workspace, start_screen="upload")) as pilot:
        await wait_until(pilot, lambda: isinstance(app.screen, UploadScreen))
        await lose_connection(app, pilot)
        place = await form_with(app, pilot, firmware)
        await wait_until(pilot, lambda: isinstance(place.form.entries[0].error, ServerUnreachableError))
        await restore_connection(app, pilot)
        await wait_until(pilot, lambda: place.form.entries[0].file is not None)


# ---- the line itself


async def test_who_takes_the_workspace_over_is_told(workspace: TuiWorkspace) -> None:
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


async def test_who_cannot_take_over_is_told_why_and_nothing_else_is_put_over_the_screen(
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


async def test_a_server_that_is_not_there_yet_is_waited_for(workspace: TuiWorkspace) -> None:
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


async def test_a_server_that_is_not_trusted_is_not_waited_for(workspace: TuiWorkspace) -> None:
    workspace.faults.fail["workspace"] = ServerUnreachableError("It is not trusted.", reach=DeliveryCertainty.UNTRUSTED)
    app = make_app(workspace)
    async with app.run_test() as pilot:
        await wait_until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        assert app.state.engine is EngineState.FAILED


async def test_a_token_that_ended_is_told_once(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace)) as pilot:
        ended = "The token is not valid here."
        for method in ("tasks", "counts", "devices", "workspace"):
            workspace.faults.fail[method] = AuthenticationError(ended)
        for _ in range(3):
            await pilot.press("r")
            await wait_for_workers(pilot)
        assert sum(isinstance(each, ErrorDialog) for each in app.screen_stack) == 1


async def test_events_that_end_for_good_are_told_and_not_taken_for_a_quiet_engine(workspace: TuiWorkspace) -> None:
    workspace.faults.fail["events"] = AuthenticationError("The token is not valid here.")
    app = make_app(workspace)
    async with app.run_test() as pilot:
        await assert_visible(pilot, "The token is not valid here.", "failed")
