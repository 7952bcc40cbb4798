"""Tests of notification targets and settings: permissions, secrets, limits and failed notifications."""

from __future__ import annotations

import json

import pytest

from sealyard.engine.notifications.registry import MAX_TARGETS
from sealyard.engine.state.tables import NOTIFICATION_OUTBOX, NOTIFICATION_SETTINGS, NOTIFICATION_TARGETS
from sealyard.model.access import SubjectState
from sealyard.model.audit import AuditAction
from sealyard.model.errors import (
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    TooManyRequestsError,
    UsageError,
)
from sealyard.model.notifications import (
    DEFAULT_EVENTS,
    MailSecurity,
    MailServer,
    NotificationEvent,
    NotificationSettingsRequest,
    NotificationTargetRequest,
    TargetKind,
)
from tests.support.engine_harness import ADMIN, CLIENT, DEV, GATEWAY, OWNER, SECOND, EngineHarness
from tests.support.notification_harness import (
    EMAIL,
    MAIL_SERVER,
    add_target,
    current_target,
    discard_obsolete,
    next_delivery,
    pending_events,
    set_settings,
)

pytestmark = pytest.mark.anyio

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#approvals"


async def test_person_adds_and_removes_own_target(harness: EngineHarness) -> None:
    target = await add_target(harness, OWNER)
    assert (target.subject, target.kind, target.address) == (OWNER, TargetKind.EMAIL, EMAIL)
    assert target.events == DEFAULT_EVENTS
    assert [each.id for each in harness.engine.notifications.list_targets(OWNER)] == [target.id]
    await harness.execute(OWNER, harness.engine.notifications.remove_target(OWNER, target.id))
    assert harness.engine.notifications.list_targets(OWNER) == ()


async def test_administrator_adds_targets_of_others_and_of_configurations(harness: EngineHarness) -> None:
    personal = await add_target(harness, OWNER, by=ADMIN)
    team = await add_target(harness, "", address=SLACK, device_config=GATEWAY)
    assert (personal.subject, personal.created_by) == (OWNER, ADMIN)
    assert (team.subject, team.config_name, team.kind) == ("", GATEWAY, TargetKind.CHAT)
    assert {each.id for each in harness.engine.notifications.list_targets(ADMIN)} == {personal.id, team.id}
    assert [each.id for each in harness.engine.notifications.list_targets(OWNER)] == [personal.id]


async def test_others_targets_are_hidden(harness: EngineHarness) -> None:
    target = await add_target(harness, OWNER)
    notifications = harness.engine.notifications
    assert notifications.list_targets(DEV) == ()
    for call in (notifications.remove_target(DEV, target.id), notifications.start_test(DEV, target.id)):
        with pytest.raises(NotFoundError):
            await harness.execute(DEV, call)
    with pytest.raises(NotFoundError):
        notifications.failed(DEV, target.id)
    with pytest.raises(PermissionDeniedError):
        await add_target(harness, OWNER, by=DEV)
    with pytest.raises(PermissionDeniedError):
        await add_target(harness, "", by=DEV, device_config=GATEWAY)
    with pytest.raises(PermissionDeniedError):
        await harness.execute(DEV, notifications.set_settings(DEV, NotificationSettingsRequest()))


async def test_machine_client_has_no_targets(harness: EngineHarness) -> None:
    with pytest.raises(UsageError):
        await add_target(harness, CLIENT, by=ADMIN)
    with pytest.raises(NotFoundError):
        await add_target(harness, "USER:unknown", by=ADMIN)


async def test_number_of_targets_is_limited(harness: EngineHarness) -> None:
    for _ in range(MAX_TARGETS):
        await add_target(harness, OWNER)
    with pytest.raises(ConflictError):
        await add_target(harness, OWNER)
    await add_target(harness, DEV)


async def test_address_and_password_are_stored_encrypted(harness: EngineHarness) -> None:
    target = await add_target(harness, OWNER, address=SLACK)
    mail_server = MailServer(host="mail.example.org", port=587, sender="a@example.org", user_name="seal")
    await set_settings(harness, mail_server=mail_server, password="secret of the mail server")
    stored = [harness.engine.store.get_json(NOTIFICATION_TARGETS.name, target.id)]
    stored += [harness.engine.store.get_json(NOTIFICATION_SETTINGS.name, "settings")]
    shown = repr(harness.engine.notifications.list_targets(ADMIN)) + repr(harness.engine.notifications.settings(ADMIN))
    entries = json.dumps([str(each) for each in await harness.audit_entries()])
    for text in (str(stored), shown, entries, repr(NotificationTargetRequest(address=SLACK))):
        assert "TIiajkdnlazkcOXrIdevi7FQ" not in text
        assert "secret of the mail server" not in text


async def test_changes_are_audited_without_addresses(harness: EngineHarness) -> None:
    target = await add_target(harness, OWNER, NotificationEvent.WAITING)
    await set_settings(harness)
    await harness.execute(OWNER, harness.engine.notifications.remove_target(OWNER, target.id))
    entries = await harness.audit_entries(about=f"NOTIFICATION:{target.id}")
    assert {(each.author, each.change) for each in entries} == {
        (OWNER, AuditAction.CREATED),
        (OWNER, AuditAction.DELETED),
    }
    assert EMAIL not in str(entries)


async def test_mail_server_is_shown_to_administrators_only(harness: EngineHarness) -> None:
    await set_settings(harness, show_names=True, escalation_percent=75)
    assert harness.engine.notifications.settings(ADMIN).mail_server == MAIL_SERVER
    settings = harness.engine.notifications.settings(DEV)
    assert (settings.mail_server, settings.show_names, settings.escalation_percent) == (None, True, 75)


@pytest.mark.parametrize(
    "mail_server",
    [
        MailServer(host="mail.example.org/x", port=25, sender="a@example.org"),
        MailServer(host="127.1", port=25, sender="a@example.org"),
        MailServer(host="mail.example.org", port=25, sender="not an address"),
        MailServer(host="mail.example.org", port=25, sender="a@example.org\nBcc: b@example.org"),
    ],
)
async def test_invalid_mail_server_is_rejected(harness: EngineHarness, mail_server: MailServer) -> None:
    with pytest.raises(UsageError):
        await set_settings(harness, mail_server=mail_server)


async def test_password_is_kept_for_the_same_account_only(harness: EngineHarness) -> None:
    mail_server = MailServer(host="mail.example.org", port=587, sender="a@example.org", user_name="seal")
    with pytest.raises(UsageError):
        await set_settings(harness, mail_server=mail_server)
    await set_settings(harness, mail_server=mail_server, password="secret")
    await set_settings(harness, mail_server=mail_server, show_names=True)
    other_server = MailServer(host="mail.attacker.example", port=587, sender="a@example.org", user_name="seal")
    with pytest.raises(UsageError):
        await set_settings(harness, mail_server=other_server)
    plain = MailServer(
        host="mail.example.org", port=587, sender="a@example.org", user_name="seal", security=MailSecurity.NONE
    )
    with pytest.raises(UsageError):
        await set_settings(harness, mail_server=plain, password="secret")


async def test_removed_target_leaves_no_messages(harness: EngineHarness) -> None:
    target = await add_target(harness, OWNER)
    await harness.package()
    assert pending_events(harness, target) == ["task.waiting"]
    await harness.execute(OWNER, harness.engine.notifications.remove_target(OWNER, target.id))
    assert harness.engine.store.count(NOTIFICATION_OUTBOX.name) == 0
    assert await harness.engine.notifications.outbox.next_delivery(target.id) is None


async def test_failed_notification_is_listed_and_retried(harness: EngineHarness) -> None:
    target = await add_target(harness, OWNER)
    task = await harness.package()
    delivery = await next_delivery(harness, target)
    await harness.engine.notifications.outbox.move_to_dead_letters(delivery.messages, "550 no such mailbox")
    (failed,) = harness.engine.notifications.failed(OWNER, target.id)
    assert (failed.event, failed.task_id, failed.attempts) == (NotificationEvent.WAITING, task.id, 1)
    shown = current_target(harness, target)
    assert (shown.pending_count, shown.dead_letters, shown.last_error) == (0, 1, "550 no such mailbox")
    await harness.execute(OWNER, harness.engine.notifications.retry(OWNER, failed.id))
    assert pending_events(harness, target) == ["task.waiting"]
    with pytest.raises(NotFoundError):
        await harness.execute(OWNER, harness.engine.notifications.retry(OWNER, failed.id))


async def test_test_message_needs_a_sender_and_is_limited(harness: EngineHarness) -> None:
    target = await add_target(harness, OWNER)
    notifications = harness.engine.notifications
    with pytest.raises(ConflictError):
        await harness.execute(OWNER, notifications.start_test(OWNER, target.id))
    await notifications.outbox.attach_sender()
    test = await harness.execute(OWNER, notifications.start_test(OWNER, target.id))
    with pytest.raises(TooManyRequestsError):
        await harness.execute(OWNER, notifications.start_test(OWNER, target.id))
    await notifications.outbox.detach_sender()
    assert (await notifications.wait_for_test(test)).error == "The process that sends notifications has stopped."
    assert pending_events(harness, target) == []


async def test_removed_person_has_no_targets(harness: EngineHarness) -> None:
    target, other_target = await add_target(harness, OWNER), await add_target(harness, SECOND)
    await harness.package()
    states = harness.engine.subject_states
    await harness.execute(ADMIN, states.change(ADMIN, OWNER, SubjectState.REMOVED, "left", confirmed=True))
    assert [each.id for each in harness.engine.notifications.list_targets(ADMIN)] == [other_target.id]
    assert pending_events(harness, target) == []
    (entry,) = await harness.audit_entries(AuditAction.DELETED, f"NOTIFICATION:{target.id}")
    assert entry.author == ADMIN


async def test_disabled_person_is_not_notified(harness: EngineHarness) -> None:
    target = await add_target(harness, OWNER)
    await harness.package()
    states = harness.engine.subject_states
    await harness.execute(ADMIN, states.change(ADMIN, OWNER, SubjectState.DISABLED, "on leave", confirmed=True))
    await discard_obsolete(harness, target)
    await harness.package()
    assert pending_events(harness, target) == []
