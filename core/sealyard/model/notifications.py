"""Notifications: e-mail and chat messages that tell people about requests, and the targets that receive them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from msgspec import Meta

from sealyard.model.base import FrozenStruct, LongText, SecretStruct, ShortText
from sealyard.model.webhooks import WebhookEvent

DEFAULT_ESCALATION_PERCENT = 90
MIN_ESCALATION_PERCENT, MAX_ESCALATION_PERCENT = 51, 99
"""Range of the share of the approval period after which a request is escalated; the reminder is sent at 50 %."""

REMINDER_PERCENT = 50
"""Share of the approval period, in percent, after which approvers are reminded."""


class NotificationEvent(StrEnum):
    """An event that targets are notified of.

    The targets of a person receive ``waiting`` and ``reminder`` for requests that the person may approve,
    ``escalation`` if the person is an administrator, ``decision`` and ``failure`` for the person's own requests, and
    ``certificate`` if a certificate expires soon of a device configuration for which the person may approve. The
    targets of a device configuration receive all events of its requests and certificates.
    """

    WAITING = "waiting"
    REMINDER = "reminder"
    ESCALATION = "escalation"
    DECISION = "decision"
    FAILURE = "failure"
    CERTIFICATE = "certificate"


DEFAULT_EVENTS = (
    NotificationEvent.WAITING,
    NotificationEvent.REMINDER,
    NotificationEvent.ESCALATION,
    NotificationEvent.CERTIFICATE,
)
"""The events of a target if none are given."""

_EVENTS = {
    WebhookEvent.TASK_WAITING: NotificationEvent.WAITING,
    WebhookEvent.TASK_REMINDER: NotificationEvent.REMINDER,
    WebhookEvent.TASK_ESCALATED: NotificationEvent.ESCALATION,
    WebhookEvent.TASK_APPROVED: NotificationEvent.DECISION,
    WebhookEvent.TASK_REJECTED: NotificationEvent.DECISION,
    WebhookEvent.TASK_FAILED: NotificationEvent.FAILURE,
    WebhookEvent.TASK_CANCELLED: NotificationEvent.FAILURE,
    WebhookEvent.CERTIFICATE_EXPIRING: NotificationEvent.CERTIFICATE,
}


def notification_event(event: WebhookEvent | None) -> NotificationEvent | None:
    """Return the event that targets are notified of for a change; None if there is none."""
    return _EVENTS.get(event) if event is not None else None


class TargetKind(StrEnum):
    EMAIL = "email"
    CHAT = "chat"


class NotificationTarget(FrozenStruct, frozen=True, kw_only=True):
    """An e-mail address or chat channel that receives notifications.

    ``subject``: the person whose target it is; empty for a target of a device configuration. ``config_id``: the device
    configuration whose requests are announced; empty for all those of the person. ``address``: for display; an e-mail
    address, or the service and host of a chat channel, whose URL is a secret. ``delivered_count``, ``last_error``,
    ``pending_count`` and ``dead_letters`` are those of a :class:`~sealyard.model.webhooks.Webhook`.
    """

    id: str
    subject: str = ""
    config_id: str = ""
    config_name: str = ""
    kind: TargetKind
    address: str
    events: tuple[NotificationEvent, ...]
    created_by: str
    created_at: datetime
    tested_at: datetime | None = None
    delivered_count: int = 0
    last_error: str = ""
    pending_count: int = 0
    dead_letters: int = 0


class NotificationTargetRequest(SecretStruct, frozen=True, kw_only=True):
    """A request to add a target.

    ``address``: an e-mail address, or an Apprise URL of a supported chat service. ``device_config``: id or name of the
    device configuration whose target it is. ``subject``: the person whose target it is; by default the caller, unless
    ``device_config`` is given. ``events``: by default :data:`DEFAULT_EVENTS`.
    """

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("subject", "device_config", "events")

    address: LongText
    subject: ShortText = ""
    device_config: ShortText = ""
    events: tuple[NotificationEvent, ...] = ()


class FailedNotification(FrozenStruct, frozen=True, kw_only=True):
    """A notification that could not be delivered; the fields are those of a dead letter."""

    id: str
    target_id: str
    event: NotificationEvent
    task_id: str
    attempts: int
    failed_at: datetime
    error: str


class MailSecurity(StrEnum):
    """How the connection to the mail server is encrypted. ``NONE`` requires that private addresses are allowed."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


DEFAULT_MAIL_PORTS = {MailSecurity.STARTTLS: 587, MailSecurity.TLS: 465, MailSecurity.NONE: 25}


class MailServer(FrozenStruct, frozen=True, kw_only=True):
    """The mail server (SMTP) that sends e-mails. ``user_name`` is empty if it requires no authentication."""

    host: ShortText
    port: Annotated[int, Meta(ge=1, le=65535)]
    sender: ShortText
    security: MailSecurity = MailSecurity.STARTTLS
    user_name: ShortText = ""


class NotificationSettings(FrozenStruct, frozen=True, kw_only=True):
    """Settings of all notifications of a workspace.

    ``show_names``: whether messages contain the names of packages and people, and reasons. ``escalation_percent``:
    share of the approval period after which administrators are notified. ``sends_now``: whether the process that owns
    the workspace is sending notifications; not stored.
    """

    mail_server: MailServer | None = None
    show_names: bool = False
    escalation_percent: Annotated[int, Meta(ge=MIN_ESCALATION_PERCENT, le=MAX_ESCALATION_PERCENT)] = (
        DEFAULT_ESCALATION_PERCENT
    )
    sends_now: bool = False


class NotificationSettingsRequest(SecretStruct, frozen=True, kw_only=True):
    """New settings. ``password``: of the mail server's user; None keeps it for the same server and user."""

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("mail_server", "show_names", "escalation_percent")

    mail_server: MailServer | None = None
    show_names: bool = False
    escalation_percent: Annotated[int, Meta(ge=MIN_ESCALATION_PERCENT, le=MAX_ESCALATION_PERCENT)] = (
        DEFAULT_ESCALATION_PERCENT
    )
    password: ShortText | None = None


class NotificationTestResult(FrozenStruct, frozen=True, kw_only=True):
    """The result of a test message. ``error`` is empty if the receiver's server accepted the message."""

    error: str = ""
