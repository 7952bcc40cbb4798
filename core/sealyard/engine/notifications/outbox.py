"""The outbox of notifications: what is sent to which target, combined into few messages, and test messages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import ClassVar

import msgspec

from sealyard.engine.notifications.recipients import Recipients
from sealyard.engine.notifications.text import (
    ExpiryNotice,
    Notice,
    TaskNotice,
    build_body,
    build_test_texts,
    build_title,
)
from sealyard.engine.state.ids import new_id
from sealyard.engine.state.outbox import Outbox, OutboxTables, build_message_id
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.secret_box import SecretBox
from sealyard.engine.state.tables import (
    NOTIFICATION_DEAD_LETTERS,
    NOTIFICATION_OUTBOX,
    NOTIFICATION_TARGETS,
    OutboxMessage,
    StoredNotificationTarget,
    Table,
)
from sealyard.model.base import SecretStruct
from sealyard.model.events import DurableEvent, TaskChanged
from sealyard.model.notifications import MailServer, NotificationTarget, TargetKind, notification_event

COALESCING_SECONDS = 30.0
"""How long a notification waits for others, so that several requests within a short time are one message.

A target therefore receives at most one message in this time."""

MAX_COMBINED = 100
"""Maximum number of notifications in one message."""

NO_SENDER_ERROR = "The process that sends notifications has stopped."
PASSWORD_CONTEXT = "password of the mail server"  # noqa: S105 - not a secret


class NotificationDelivery(SecretStruct, frozen=True, kw_only=True):
    """A message to a target: its text, its address, and the access to the mail server if it is an e-mail.

    ``id`` is the same for each attempt to deliver the same messages. ``mail_server`` is None if none is set.
    """

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("id", "kind", "title")

    id: str
    messages: tuple[OutboxMessage, ...]
    kind: TargetKind
    address: str
    title: str
    body: str
    mail_server: MailServer | None = None
    password: str = ""


class NotificationTest:
    """A test message, and its outcome: the error, or an empty string."""

    def __init__(self, delivery: NotificationDelivery) -> None:
        self.delivery = delivery
        self.outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()


class NotificationOutbox(Outbox[StoredNotificationTarget, NotificationDelivery]):
    """The notifications that wait for delivery. Notifications to the same target are combined into one message."""

    def __init__(
        self, repository: Repository, secret_box: SecretBox, recipients: Recipients, workspace_name: str
    ) -> None:
        super().__init__(
            repository,
            OutboxTables(
                receivers=NOTIFICATION_TARGETS,
                messages=NOTIFICATION_OUTBOX,
                dead_letters=NOTIFICATION_DEAD_LETTERS,
                resource_prefix="NOTIFICATION",
            ),
        )
        self._secret_box = secret_box
        self._recipients = recipients
        self._workspace_name = workspace_name
        self._tests: asyncio.Queue[NotificationTest] = asyncio.Queue()
        self._unfinished_tests: set[NotificationTest] = set()
        self.has_sender = False
        """Whether this process sends notifications."""

    def messages_for(self, events: Sequence[DurableEvent]) -> Iterator[tuple[Table[OutboxMessage], OutboxMessage]]:
        """Yield a message for each event and each target that is notified of it."""
        changes = [event for event in events if notification_event(event.notification) is not None]
        if not changes:
            return
        for stored_target in self._repository.list_all(NOTIFICATION_TARGETS):
            target = stored_target.target
            for change in changes:
                if self._recipients.is_recipient(target, change):
                    message_id = build_message_id(target.id, change.cursor)
                    yield NOTIFICATION_OUTBOX, OutboxMessage(id=message_id, receiver_id=target.id, change=change)

    # ---- test messages

    async def attach_sender(self) -> None:
        """Record that a sender takes the messages and tests of this outbox."""
        self.has_sender = True

    async def detach_sender(self) -> None:
        """Record that no sender is left, and fail the tests that it has not finished."""
        self.has_sender = False
        for test in tuple(self._unfinished_tests):
            await self.finish_test(test, NO_SENDER_ERROR)

    def start_test(self, stored_target: StoredNotificationTarget) -> NotificationTest:
        """Queue a test message to a target, and return it."""
        title, body = build_test_texts(self._workspace_name)
        test = NotificationTest(
            self._build_message(stored_target, f"{stored_target.target.id}-{new_id()}", title, body)
        )
        self._unfinished_tests.add(test)
        self._tests.put_nowait(test)
        return test

    async def next_test(self) -> NotificationTest:
        """Wait for the next test message that is to be sent."""
        while (test := await self._tests.get()).outcome.done():
            pass
        return test

    async def finish_test(self, test: NotificationTest, error: str) -> None:
        self._unfinished_tests.discard(test)
        if not test.outcome.done():
            test.outcome.set_result(error)

    # ---- secrets

    def encrypt_address(self, target_id: str, address: str) -> str:
        return self._secret_box.encrypt(address.encode(), address_context(target_id))

    def encrypt_password(self, password: str) -> str:
        return self._secret_box.encrypt(password.encode(), PASSWORD_CONTEXT)

    # ---- helpers

    async def _build_delivery(
        self, receiver: StoredNotificationTarget, message: OutboxMessage
    ) -> NotificationDelivery | None:
        messages = [each for each in self.pending(message.receiver_id) if self._is_durable(each)][:MAX_COMBINED]
        notices: dict[str, Notice] = {}
        for each in messages:
            notice = self._build_notice(receiver.target, each.change)
            if notice is not None:
                notices[each.id] = notice
        if len(notices) < len(messages):
            await self._delete_messages([each for each in messages if each.id not in notices])
            return None
        show_names = self._repository.notification_settings().settings.show_names
        title = build_title(tuple(notices.values()))
        body = build_body(tuple(notices.values()), self._workspace_name, show_names=show_names)
        return self._build_message(receiver, message.id, title, body, tuple(messages))

    def _build_notice(self, target: NotificationTarget, change: DurableEvent) -> Notice | None:
        """Return what to report of a change; None if it no longer applies."""
        if isinstance(change, TaskChanged):
            task = self._recipients.find_task(target, change)
            return TaskNotice(change=change, task=task) if task is not None else None
        names = tuple(device.name for device in self._recipients.find_configs(target, change))
        if change.certificate is None or not names or self._recipients.is_outdated(change.certificate):
            return None
        return ExpiryNotice(certificate=change.certificate, config_names=names)

    def _build_message(
        self,
        stored_target: StoredNotificationTarget,
        identity: str,
        title: str,
        body: str,
        messages: tuple[OutboxMessage, ...] = (),
    ) -> NotificationDelivery:
        stored_settings = self._repository.notification_settings()
        password = stored_settings.password
        target = stored_target.target
        return NotificationDelivery(
            id=identity,
            messages=messages,
            kind=target.kind,
            address=self._secret_box.decrypt(stored_target.address, address_context(target.id)).decode(),
            title=title,
            body=body,
            mail_server=stored_settings.settings.mail_server,
            password=self._secret_box.decrypt(password, PASSWORD_CONTEXT).decode() if password is not None else "",
        )

    async def _delete_messages(self, messages: Sequence[OutboxMessage]) -> None:
        """Delete messages that no longer apply, for example because the task was approved in the meantime."""
        unit_of_work = self._repository.begin()
        for message in messages:
            unit_of_work.delete(NOTIFICATION_OUTBOX, message.id)
        await unit_of_work.commit()

    def _with_outcome(
        self, receiver: StoredNotificationTarget, *, delivered_count: int, error: str
    ) -> StoredNotificationTarget:
        target = msgspec.structs.replace(
            receiver.target, delivered_count=receiver.target.delivered_count + delivered_count, last_error=error
        )
        return msgspec.structs.replace(receiver, target=target)

    def _due_at(self, message: OutboxMessage) -> datetime | None:
        return message.retry_at or message.change.at + timedelta(seconds=COALESCING_SECONDS)


def address_context(target_id: str) -> str:
    return f"notification target {target_id}"
