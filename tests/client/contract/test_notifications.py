"""Contract tests of notifications, with each kind of client."""

from __future__ import annotations

import pytest

from sealyard.model.errors import ConflictError, NotFoundError, PermissionDeniedError, UsageError
from sealyard.model.notifications import (
    MailServer,
    NotificationEvent,
    NotificationSettingsRequest,
    NotificationTargetRequest,
    TargetKind,
)
from tests.support.client_kinds import DEV, GATEWAY, OWNER, ClientHarness, ContractSubjects

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"


def test_targets_are_added_listed_and_removed(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, dev, owner = await subjects.all_clients()
        own = await owner.add_notification_target(NotificationTargetRequest(address="owner@example.org"))
        assert (own.subject, own.kind, own.address) == (OWNER, TargetKind.EMAIL, "owner@example.org")
        request = NotificationTargetRequest(address=SLACK, device_config=GATEWAY, events=(NotificationEvent.WAITING,))
        team = await admin.add_notification_target(request)
        assert (team.config_name, team.address, team.events) == (GATEWAY, "Slack", (NotificationEvent.WAITING,))
        assert [each.id for each in await admin.notification_targets()] == [own.id, team.id]
        assert [each.id for each in await owner.notification_targets()] == [own.id]
        assert await dev.notification_targets() == ()
        assert await owner.failed_notifications(own.id) == ()
        with pytest.raises(NotFoundError):
            await dev.remove_notification_target(own.id)
        with pytest.raises(PermissionDeniedError):
            await dev.add_notification_target(NotificationTargetRequest(address="a@example.org", subject=OWNER))
        with pytest.raises(UsageError):
            await dev.add_notification_target(NotificationTargetRequest(address="file:///etc/passwd"))
        await owner.remove_notification_target(own.id)
        assert await owner.notification_targets() == ()

    harness.run(test)


def test_settings_are_changed(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, dev, _ = await subjects.all_clients()
        mail_server = MailServer(host="mail.example.org", port=587, sender="a@example.org", user_name="seal")
        request = NotificationSettingsRequest(mail_server=mail_server, escalation_percent=80, password="secret")
        settings = await admin.set_notification_settings(request)
        assert (settings.mail_server, settings.escalation_percent) == (mail_server, 80)
        assert await admin.notification_settings() == settings
        assert (await dev.notification_settings()).mail_server is None
        with pytest.raises(PermissionDeniedError):
            await dev.set_notification_settings(request)

    harness.run(test)


def test_pending_messages_are_counted(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        owner = await subjects.client_for(OWNER)
        target = await owner.add_notification_target(NotificationTargetRequest(address="owner@example.org"))
        await subjects.package()
        (shown,) = await owner.notification_targets()
        assert (shown.id, shown.pending_count) == (target.id, 1)

    harness.run(test)


def test_test_message_without_sender_fails(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        dev = await subjects.client_for(DEV)
        target = await dev.add_notification_target(NotificationTargetRequest(address="dev@example.org"))
        if (await dev.notification_settings()).sends_now:
            assert (await dev.test_notification_target(target.id)).error == "No mail server is set."
            return
        with pytest.raises(ConflictError):
            await dev.test_notification_target(target.id)

    harness.run(test)
