"""The part of the client protocol for webhooks and notifications."""

from __future__ import annotations

from typing import Protocol

from sealyard.model.notifications import (
    FailedNotification,
    NotificationSettings,
    NotificationSettingsRequest,
    NotificationTarget,
    NotificationTargetRequest,
    NotificationTestResult,
)
from sealyard.model.webhooks import DeadLetter, IssuedWebhook, Webhook, WebhookRequest


class WebhookClient(Protocol):
    """Operations to manage the webhooks that notify external systems of results and approvals.

    All of them require permission to update the policy.
    """

    async def webhooks(self) -> tuple[Webhook, ...]: ...
    async def add_webhook(self, request: WebhookRequest) -> IssuedWebhook: ...
    async def remove_webhook(self, webhook_id: str) -> None: ...
    async def dead_letters(self, webhook_id: str) -> tuple[DeadLetter, ...]:
        """Return the webhook's undeliverable messages, oldest first."""
        ...

    async def redeliver(self, letter_id: str) -> None:
        """Queue a dead letter for delivery again."""
        ...


class NotificationClient(Protocol):
    """Operations to manage the e-mail addresses and chat channels that are notified of requests.

    People manage their own targets; other targets and the settings require permission to update the policy.
    """

    async def notification_targets(self) -> tuple[NotificationTarget, ...]:
        """Return the targets that the subject may manage, oldest first."""
        ...

    async def add_notification_target(self, request: NotificationTargetRequest) -> NotificationTarget: ...
    async def remove_notification_target(self, target_id: str) -> None: ...
    async def test_notification_target(self, target_id: str) -> NotificationTestResult:
        """Send a test message, and return whether the receiver's server accepted it.

        Raises :class:`ConflictError` if no process is sending notifications.
        """
        ...

    async def failed_notifications(self, target_id: str) -> tuple[FailedNotification, ...]:
        """Return the target's notifications that could not be delivered, oldest first."""
        ...

    async def retry_notification(self, notification_id: str) -> None:
        """Queue a failed notification again."""
        ...

    async def notification_settings(self) -> NotificationSettings: ...
    async def set_notification_settings(self, request: NotificationSettingsRequest) -> NotificationSettings: ...
