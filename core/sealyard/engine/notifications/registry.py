"""Use cases of notifications: targets, settings, test messages, and failed notifications."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec

from sealyard.engine.notifications.outbox import NotificationOutbox, NotificationTest
from sealyard.engine.notifications.recipients import Recipients
from sealyard.engine.state.ids import new_id
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.secret_box import SecretBox
from sealyard.engine.state.tables import (
    NOTIFICATION_DEAD_LETTERS,
    NOTIFICATION_SETTINGS,
    NOTIFICATION_SETTINGS_ID,
    NOTIFICATION_TARGETS,
    StoredDeadLetter,
    StoredNotificationSettings,
    StoredNotificationTarget,
)
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.model.access import Action, ResourceType, SubjectKind, parse_subject, resource_type_uri, subject_kind
from sealyard.model.audit import AuditAction
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import ConflictError, NotFoundError, PermissionDeniedError, TooManyRequestsError, UsageError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.notification_address import parse_email, parse_notification_address
from sealyard.model.notifications import (
    DEFAULT_EVENTS,
    FailedNotification,
    MailSecurity,
    MailServer,
    NotificationSettings,
    NotificationSettingsRequest,
    NotificationTarget,
    NotificationTargetRequest,
    NotificationTestResult,
    notification_event,
)
from sealyard.model.safe_text import escape_text
from sealyard.model.webhook_url import parse_webhook_url

MAX_TARGETS = 10
"""Maximum number of targets of a person or of a device configuration."""

TEST_INTERVAL = 30.0
"""Minimum number of seconds between two test messages to the same target, so that they cannot flood an address."""

TEST_TIMEOUT = 45.0
"""Seconds to wait for the outcome of a test message."""


class NotificationRegistry:
    """Manages targets and settings of notifications.

    People manage their own targets. The targets of others and of device configurations, and the settings, require
    permission to update the policy.
    """

    def __init__(
        self, repository: Repository, permissions: Permissions, secret_box: SecretBox, workspace_name: str
    ) -> None:
        self._repository = repository
        self._permissions = permissions
        self.outbox = NotificationOutbox(repository, secret_box, Recipients(repository, permissions), workspace_name)

    # ---- targets

    def list_targets(self, subject: str) -> tuple[NotificationTarget, ...]:
        """Return the targets that the subject may manage, oldest first, with the numbers of their messages."""
        targets = (stored_target.target for stored_target in self._repository.list_all(NOTIFICATION_TARGETS))
        visible_targets = [self._add_counts(target) for target in targets if self._may_manage(subject, target.subject)]
        return tuple(sorted(visible_targets, key=lambda target: (target.created_at, target.id)))

    async def add_target(self, subject: str, request: NotificationTargetRequest) -> NotificationTarget:
        """Add a target that receives future events.

        Raises :class:`UsageError` if the address is invalid or its service is not supported.
        """
        owner = self._find_owner(subject, request)
        self._require_manage(subject, owner)
        address = parse_notification_address(request.address)
        config = self._find_config(subject, request.device_config)
        target = NotificationTarget(
            id=new_id(),
            subject=owner,
            config_id=config.id if config is not None else "",
            config_name=config.name if config is not None else "",
            kind=address.kind,
            address=address.display_text,
            events=tuple(dict.fromkeys(request.events)) or DEFAULT_EVENTS,
            created_by=subject,
            created_at=self._repository.clock.now(),
        )
        self._require_room(target)
        unit_of_work = self._repository.begin()
        encrypted_address = self.outbox.encrypt_address(target.id, request.address)
        unit_of_work.put(
            NOTIFICATION_TARGETS, target.id, StoredNotificationTarget(target=target, address=encrypted_address)
        )
        new_value = {
            "kind": target.kind.value,
            "subject": target.subject,
            "deviceConfigId": target.config_id,
            "events": list(target.events),
        }
        resource = self.outbox.tables.resource(target.id)
        unit_of_work.audit(subject, AuditAction.CREATED, resource, "notification target added", new_value)
        await self._commit(unit_of_work, target.id)
        return target

    async def remove_target(self, subject: str, target_id: str) -> None:
        """Remove a target together with its pending and failed notifications."""
        target = self._get_target(subject, target_id).target
        unit_of_work = self._repository.begin()
        self._delete(unit_of_work, subject, target)
        await self._commit(unit_of_work, target.id)

    def delete_all(self, unit_of_work: UnitOfWork, author: str, owner: str) -> None:
        """Delete the targets of a person who is removed, in the given unit of work."""
        for stored_target in self._repository.list_all(NOTIFICATION_TARGETS):
            if stored_target.target.subject == owner:
                self._delete(unit_of_work, author, stored_target.target)

    def _delete(self, unit_of_work: UnitOfWork, author: str, target: NotificationTarget) -> None:
        self.outbox.delete_receiver(unit_of_work, target.id)
        resource = self.outbox.tables.resource(target.id)
        unit_of_work.audit(author, AuditAction.DELETED, resource, "notification target removed")

    # ---- test messages

    async def start_test(self, subject: str, target_id: str) -> NotificationTest:
        """Queue a test message to a target.

        Raises :class:`ConflictError` if no process is sending notifications, and :class:`TooManyRequestsError` if a
        test message was sent a short time ago.
        """
        stored_target = self._get_target(subject, target_id)
        if not self.outbox.has_sender:
            raise ConflictError(
                "No process is sending notifications.", "Open the application, or start the server, then try again."
            )
        now = self._repository.clock.now()
        target = stored_target.target
        if target.tested_at is not None and now < target.tested_at + timedelta(seconds=TEST_INTERVAL):
            raise TooManyRequestsError(
                "A test message was sent a short time ago.",
                f"Try again in {TEST_INTERVAL:.0f} seconds.",
                retry_after=TEST_INTERVAL,
            )
        tested_target = msgspec.structs.replace(stored_target, target=msgspec.structs.replace(target, tested_at=now))
        unit_of_work = self._repository.begin()
        unit_of_work.put(NOTIFICATION_TARGETS, target.id, tested_target)
        await unit_of_work.commit()
        return self.outbox.start_test(tested_target)

    async def wait_for_test(self, test: NotificationTest) -> NotificationTestResult:
        """Wait for the outcome of a test message."""
        try:
            async with asyncio.timeout(TEST_TIMEOUT):
                error = await asyncio.shield(test.outcome)
        except TimeoutError:
            error = "The receiver's server did not answer in time."
        return NotificationTestResult(error=error)

    # ---- failed notifications

    def failed(self, subject: str, target_id: str) -> tuple[FailedNotification, ...]:
        """Return the failed notifications of a target, oldest event first."""
        target = self._get_target(subject, target_id).target
        return tuple(_to_failed_notification(stored_letter) for stored_letter in self.outbox.dead_letters(target.id))

    async def retry(self, subject: str, notification_id: str) -> None:
        """Queue a failed notification again. Raises :class:`NotFoundError` if there is none with this id."""
        stored_letter = self._repository.get(NOTIFICATION_DEAD_LETTERS, notification_id)
        if stored_letter is None:
            raise _notification_not_found(notification_id)
        target = self._get_target(subject, stored_letter.dead_letter.webhook_id).target
        unit_of_work = self._repository.begin()
        self.outbox.requeue(unit_of_work, stored_letter)
        letter = stored_letter.dead_letter
        resource = self.outbox.tables.resource(target.id)
        message = f"{letter.event} of task {letter.task_id} queued again"
        unit_of_work.audit(subject, AuditAction.RENEWED, resource, message)
        await self._commit(unit_of_work, target.id)

    # ---- settings

    def settings(self, subject: str) -> NotificationSettings:
        """Return the settings; without the mail server if the subject may not change them."""
        settings = self._repository.notification_settings().settings
        mail_server = settings.mail_server if self._is_manager(subject) else None
        return msgspec.structs.replace(settings, mail_server=mail_server, sends_now=self.outbox.has_sender)

    async def set_settings(self, subject: str, request: NotificationSettingsRequest) -> NotificationSettings:
        """Replace the settings. Raises :class:`UsageError` if the mail server is invalid."""
        self._permissions.require_type(subject, Action.UPDATE, ResourceType.POLICY)
        stored_settings = self._repository.notification_settings()
        settings = NotificationSettings(
            mail_server=request.mail_server,
            show_names=request.show_names,
            escalation_percent=request.escalation_percent,
        )
        password = self._encrypt_password(request, stored_settings)
        _check_mail_server(settings, has_password=password is not None)
        unit_of_work = self._repository.begin()
        unit_of_work.put(
            NOTIFICATION_SETTINGS,
            NOTIFICATION_SETTINGS_ID,
            StoredNotificationSettings(settings=settings, password=password),
        )
        new_value = msgspec.to_builtins(settings)
        del new_value["sendsNow"]
        unit_of_work.audit(subject, AuditAction.UPDATED, "NOTIFICATION", "notification settings changed", new_value)
        unit_of_work.notify("NOTIFICATION")
        await unit_of_work.commit()
        return self.settings(subject)

    def _encrypt_password(
        self, request: NotificationSettingsRequest, stored_settings: StoredNotificationSettings
    ) -> str | None:
        """Return the encrypted password. An omitted one is kept, but never sent to another server or for another user.

        Otherwise, a new server could read the password of the old one.
        """
        if request.mail_server is None or not request.mail_server.user_name:
            return None
        if request.password is not None:
            return self.outbox.encrypt_password(request.password)
        old_server, new_server = stored_settings.settings.mail_server, request.mail_server
        if old_server is None or _account_of(old_server) != _account_of(new_server):
            raise UsageError("The password of the mail server's user is missing.", "Enter it.")
        return stored_settings.password

    # ---- helpers

    async def _commit(self, unit_of_work: UnitOfWork, target_id: str) -> None:
        unit_of_work.notify(self.outbox.tables.resource(target_id))
        await unit_of_work.commit()
        self.outbox.notify()

    def _find_owner(self, subject: str, request: NotificationTargetRequest) -> str:
        """Return the person whose target is added; an empty string for a target of a device configuration."""
        default_owner = "" if request.device_config else subject
        owner = parse_subject(request.subject) if request.subject else default_owner
        if owner and subject_kind(owner) is not SubjectKind.USER:
            raise UsageError(
                "Only users have notification targets of their own.", "Add a target of a device configuration."
            )
        if owner and not self._permissions.contains(owner):
            name = escape_text(owner, 80)
            raise NotFoundError(f"{name} is unknown in this workspace.", Hint.of(HintCode.ADD_SUBJECT, subject=name))
        return owner

    def _find_config(self, subject: str, name: str) -> DeviceConfig | None:
        """Return the device configuration of a new target; None if it is for all configurations of a person."""
        if not name:
            return None
        config = self._repository.device(name)
        self._permissions.require_device(subject, Action.VIEW, config.id, name)
        return config

    def _require_room(self, target: NotificationTarget) -> None:
        """Raise :class:`ConflictError` if the person or the device configuration already has too many targets."""
        owner = target.subject or target.config_id
        targets = (each.target for each in self._repository.list_all(NOTIFICATION_TARGETS))
        if sum((each.subject or each.config_id) == owner for each in targets) >= MAX_TARGETS:
            raise ConflictError(f"There are already {MAX_TARGETS} targets.", Hint.of(HintCode.LIST_NOTIFICATIONS))

    def _is_manager(self, subject: str) -> bool:
        return self._permissions.is_allowed(subject, Action.UPDATE, resource_type_uri(ResourceType.POLICY))

    def _may_manage(self, subject: str, owner: str) -> bool:
        return subject == owner or self._is_manager(subject)

    def _require_manage(self, subject: str, owner: str) -> None:
        if not self._may_manage(subject, owner):
            raise PermissionDeniedError(
                "You can manage your own notification targets only.", Hint.of(HintCode.ASK_FOR_PERMISSION)
            )

    def _get_target(self, subject: str, target_id: str) -> StoredNotificationTarget:
        """Return a target. Raises :class:`NotFoundError` also if the subject may not manage it."""
        stored_target = self._repository.get(NOTIFICATION_TARGETS, target_id)
        if stored_target is None or not self._may_manage(subject, stored_target.target.subject):
            raise NotFoundError(
                f"Notification target {escape_text(target_id, 80)} not found.",
                Hint.of(HintCode.LIST_NOTIFICATIONS),
                hidden=stored_target is not None,
            )
        return stored_target

    def _add_counts(self, target: NotificationTarget) -> NotificationTarget:
        pending_count, dead_letter_count = self.outbox.counts(target.id)
        return msgspec.structs.replace(target, pending_count=pending_count, dead_letters=dead_letter_count)


def _account_of(mail_server: MailServer) -> tuple[str, int, str]:
    return mail_server.host, mail_server.port, mail_server.user_name


def _check_mail_server(settings: NotificationSettings, *, has_password: bool) -> None:
    mail_server = settings.mail_server
    if mail_server is None:
        return
    parse_email(mail_server.sender)
    if not _is_host(mail_server.host):
        raise UsageError("Invalid host of the mail server.", "Use a host name in xn-- form, or an IP address.")
    if has_password and mail_server.security is MailSecurity.NONE:
        raise UsageError("The password would be sent without encryption.", "Use STARTTLS or TLS.")


def _is_host(text: str) -> bool:
    try:
        return parse_webhook_url(f"https://{text}").origin == f"https://{text}"
    except UsageError:
        return False


def _to_failed_notification(stored_letter: StoredDeadLetter) -> FailedNotification:
    letter = stored_letter.dead_letter
    event = notification_event(letter.event)
    assert event is not None
    return FailedNotification(
        id=letter.id,
        target_id=letter.webhook_id,
        event=event,
        task_id=letter.task_id,
        attempts=letter.attempts,
        failed_at=letter.failed_at,
        error=letter.error,
    )


def _notification_not_found(notification_id: str) -> NotFoundError:
    return NotFoundError(
        f"Failed notification {escape_text(notification_id, 80)} not found.",
        Hint.of(HintCode.LIST_FAILED_NOTIFICATIONS),
    )
