"""Tests of the dialog with notification targets."""

from __future__ import annotations

from typing import Any

from textual.pilot import Pilot

from sealyard.model.errors import StorageError
from sealyard.model.notifications import (
    DEFAULT_EVENTS,
    NotificationEvent,
    NotificationTarget,
    NotificationTargetRequest,
)
from sealyard_tui.dialogs.fields import FieldRow
from sealyard_tui.dialogs.form import FormDialog
from sealyard_tui.dialogs.pick import PickDialog
from sealyard_tui.screens.access.notification_form import TEAM
from sealyard_tui.screens.access.notifications_dialog import NotificationsDialog
from sealyard_tui.session.messages import EngineState
from tests.tui.connection import FakeConnection
from tests.tui.form_helpers import fill_field, select_values, submit_form
from tests.tui.pilot_helpers import (
    assert_visible,
    connection_of,
    make_app,
    run_app,
    screen_text,
    wait_for_workers,
    wait_until,
)
from tests.tui.workspace import ADMINISTRATOR, DEVELOPER, OWNER, TuiWorkspace

HOSTILE = "mmosts://chat.example.org/[/oops]token"


async def add_target(workspace: TuiWorkspace, address: str = "olga@example.org", **fields: Any) -> NotificationTarget:
    request = NotificationTargetRequest(address=address, **{"subject": OWNER, **fields})
    return await workspace.execute(ADMINISTRATOR, workspace.engine.notifications.add_target(ADMINISTRATOR, request))


async def fail_messages(workspace: TuiWorkspace, target: NotificationTarget, error: str) -> None:
    """Give up the pending messages of the target."""
    outbox = workspace.engine.notifications.outbox
    await outbox.move_to_dead_letters(outbox.pending(target.id), error)


async def test_empty_list_explains_how_to_add_a_target(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator", start_screen="access")
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("N")
        await assert_visible(pilot, "No notification targets yet. Press n to add one.")
        await assert_visible(pilot, "No process is sending notifications now")


SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"


async def open_target_form(pilot: Pilot[None], kind: str) -> None:
    """Open the dialog, and in it the form for a target of the kind with this number."""
    await pilot.press("N")
    await wait_until(pilot, lambda: isinstance(pilot.app.screen, NotificationsDialog))
    await pilot.press("n")
    await wait_until(pilot, lambda: isinstance(pilot.app.screen, PickDialog))
    await pilot.press(kind)
    await wait_until(pilot, lambda: isinstance(pilot.app.screen, FormDialog) and bool(pilot.app.screen.query(FieldRow)))
    await pilot.pause()


async def test_own_address_is_added_and_tested(workspace: TuiWorkspace) -> None:
    outbox = workspace.engine.notifications.outbox
    await outbox.attach_sender()
    app = make_app(workspace, "owner", start_screen="access")
    async with run_app(app, size=(80, 24)) as pilot:
        await open_target_form(pilot, "1")
        assert [row.field.name for row in app.screen.query(FieldRow)] == ["address", "device", "events"]
        fill_field(app, "address", "no-address")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "Invalid address.")
        fill_field(app, "address", "olga@example.org")
        fill_field(app, "device", "gw")
        await submit_form(pilot)
        await assert_visible(pilot, "✓ Added olga@example.org. Press t to send a test message.")
        await pilot.press("t")
        await outbox.finish_test(await outbox.next_test(), "")
        await assert_visible(pilot, "✓ Sent to olga@example.org")
    (target,) = workspace.engine.notifications.list_targets(OWNER)
    assert (target.subject, target.config_id, target.events) == (OWNER, "gw", DEFAULT_EVENTS)


async def test_channel_of_team_is_added_without_showing_its_secret(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator", start_screen="access")
    async with run_app(app, size=(80, 24)) as pilot:
        await open_target_form(pilot, "2")
        fill_field(app, "address", "olga@example.org")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "This is an e-mail address.")
        fill_field(app, "address", SLACK)
        fill_field(app, "owner", TEAM)
        await pilot.pause()
        fill_field(app, "device", "sensor")
        select_values(app, "events", "failure")
        await assert_visible(pilot, "••••••", "a task fails or is cancelled")
        assert "slack" not in screen_text(app).replace("slack://TokenA", "")
        await submit_form(pilot)
        await assert_visible(pilot, "✓ Added Slack.", "team sensor")
        assert "TIiajkdnlazkcOXrIdevi7FQ" not in screen_text(app)
    (target,) = workspace.engine.notifications.list_targets(ADMINISTRATOR)
    assert (target.subject, target.config_id, target.events) == ("", "sensor", (NotificationEvent.FAILURE,))


async def test_administrator_adds_target_of_other_user(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "administrator", start_screen="access")
    async with run_app(app, size=(80, 24)) as pilot:
        await open_target_form(pilot, "1")
        fill_field(app, "address", "dana@example.org")
        fill_field(app, "owner", DEVELOPER)
        await submit_form(pilot)
        await assert_visible(pilot, "✓ Added dana@example.org.", "Dana Developer")
    assert [target.address for target in workspace.engine.notifications.list_targets(DEVELOPER)] == ["dana@example.org"]


async def test_rejected_target_keeps_the_form(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "owner", start_screen="access")
    async with run_app(app, size=(80, 24)) as pilot:
        await open_target_form(pilot, "1")
        workspace.faults.fail["add_notification_target"] = StorageError("The disk is full.", "Make room.")
        fill_field(app, "address", "olga@example.org")
        await submit_form(pilot)
        await assert_visible(pilot, "The disk is full.", "olga@example.org")
        del workspace.faults.fail["add_notification_target"]
        await submit_form(pilot)
        await assert_visible(pilot, "✓ Added olga@example.org.")


async def test_targets_are_listed_with_their_status(workspace: TuiWorkspace) -> None:
    target = await add_target(workspace)
    await add_target(workspace, HOSTILE, subject="", device_config="gateway")
    await workspace.package(by="USER:developer")
    await fail_messages(workspace, target, "550 [/oops] \x1b]2;x\x07")
    app = make_app(workspace, "administrator", start_screen="access")
    async with run_app(app, size=(100, 40)) as pilot:
        await pilot.press("N")
        await assert_visible(
            pilot, "olga@example.org", "1 undeliverable", "Mattermost at chat.example.org", "team gateway"
        )
        await assert_visible(pilot, "550 [/oops] \\x1b]2;x\\x07")
        assert "token" not in screen_text(app)


async def test_person_sees_own_targets_only(workspace: TuiWorkspace) -> None:
    await add_target(workspace)
    app = make_app(workspace, "developer", start_screen="access")
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("N")
        await assert_visible(pilot, "No notification targets")
        assert "olga@example.org" not in screen_text(app)


async def test_test_message_reports_its_outcome(workspace: TuiWorkspace) -> None:
    await add_target(workspace)
    outbox = workspace.engine.notifications.outbox
    app = make_app(workspace, "owner", start_screen="access")
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("N")
        await assert_visible(pilot, "olga@example.org")
        await pilot.press("t")
        await assert_visible(pilot, "✗ No process is sending notifications.")
        await outbox.attach_sender()
        await pilot.press("t")
        test = await outbox.next_test()
        await outbox.finish_test(test, "550 No such user")
        await assert_visible(pilot, "✗ 550 No such user")


async def test_undeliverable_messages_are_sent_again(workspace: TuiWorkspace) -> None:
    target = await add_target(workspace)
    await workspace.package(by="USER:developer")
    await fail_messages(workspace, target, "550")
    app = make_app(workspace, "owner", start_screen="access")
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("N")
        await assert_visible(pilot, "1 undeliverable")
        await pilot.press("R")
        await assert_visible(pilot, "Sending 1 message again")
    assert len(workspace.engine.notifications.outbox.pending(target.id)) == 1


async def test_target_is_removed_after_confirmation(workspace: TuiWorkspace) -> None:
    await add_target(workspace)
    app = make_app(workspace, "owner", start_screen="access")
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("N")
        await assert_visible(pilot, "olga@example.org")
        await pilot.press("x")
        await assert_visible(pilot, "Remove olga@example.org?")
        await pilot.press("y")
        await wait_for_workers(pilot)
        await wait_until(pilot, lambda: isinstance(app.screen, NotificationsDialog))
        await assert_visible(pilot, "Removed olga@example.org")
    assert workspace.engine.notifications.list_targets(OWNER) == ()


async def test_removal_is_cancelled_while_connection_is_lost(workspace: TuiWorkspace) -> None:
    await add_target(workspace)
    app = make_app(workspace, "owner", start_screen="access")
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("N")
        await assert_visible(pilot, "olga@example.org")
        await pilot.press("x")
        await assert_visible(pilot, "Remove olga@example.org?")
        connection_of(app).suspend()
        await wait_until(pilot, lambda: app.state.engine is EngineState.RECONNECTING)
        await pilot.press("y")
        await assert_visible(pilot, "Sending… waiting for the server")
        await pilot.press("escape")
        await assert_visible(pilot, "Cancelled. The request was not sent; nothing has changed.")
        connection_of(app).restore()
        await wait_until(pilot, lambda: app.state.engine is EngineState.READY)
        assert len(workspace.engine.notifications.list_targets(OWNER)) == 1


async def test_keys_are_hidden_without_write_access(workspace: TuiWorkspace) -> None:
    await add_target(workspace)
    connection = FakeConnection(workspace, read_only=True)
    app = make_app(workspace, "owner", connection=connection, start_screen="access")
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("N")
        await assert_visible(pilot, "olga@example.org")
        await pilot.press("x", "t")
        assert isinstance(app.screen, NotificationsDialog)
    assert len(workspace.engine.notifications.list_targets(OWNER)) == 1
