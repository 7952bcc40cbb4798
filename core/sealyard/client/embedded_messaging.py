"""Calls of the embedded client for webhooks and notifications."""

from __future__ import annotations

from sealyard.client.embedded_calls import EngineCalls
from sealyard.model.notifications import (
    FailedNotification,
    NotificationSettings,
    NotificationSettingsRequest,
    NotificationTarget,
    NotificationTargetRequest,
    NotificationTestResult,
)
from sealyard.model.webhooks import DeadLetter, IssuedWebhook, Webhook, WebhookRequest


class MessagingCalls(EngineCalls):
    """Calls for the receivers of messages about tasks."""

    # ---- webhooks

    async def webhooks(self) -> tuple[Webhook, ...]:
        return await self._query("WEBHOOK", lambda: self._engine.webhooks.list_webhooks(self._subject))

    async def add_webhook(self, request: WebhookRequest) -> IssuedWebhook:
        return await self._execute("WEBHOOK", self._engine.webhooks.add(self._subject, request))

    async def remove_webhook(self, webhook_id: str) -> None:
        await self._execute(f"WEBHOOK:{webhook_id}", self._engine.webhooks.remove(self._subject, webhook_id))

    async def dead_letters(self, webhook_id: str) -> tuple[DeadLetter, ...]:
        resource = f"WEBHOOK:{webhook_id}"
        return await self._query(resource, lambda: self._engine.webhooks.dead_letters(self._subject, webhook_id))

    async def redeliver(self, letter_id: str) -> None:
        await self._execute("WEBHOOK", self._engine.webhooks.redeliver(self._subject, letter_id))

    # ---- notifications

    async def notification_targets(self) -> tuple[NotificationTarget, ...]:
        return await self._query("NOTIFICATION", lambda: self._engine.notifications.list_targets(self._subject))

    async def add_notification_target(self, request: NotificationTargetRequest) -> NotificationTarget:
        return await self._execute("NOTIFICATION", self._engine.notifications.add_target(self._subject, request))

    async def remove_notification_target(self, target_id: str) -> None:
        use_case = self._engine.notifications.remove_target(self._subject, target_id)
        await self._execute(f"NOTIFICATION:{target_id}", use_case)

    async def test_notification_target(self, target_id: str) -> NotificationTestResult:
        use_case = self._engine.notifications.start_test(self._subject, target_id)
        test = await self._execute(f"NOTIFICATION:{target_id}", use_case)
        return await self._thread.call(self._engine.notifications.wait_for_test(test))

    async def failed_notifications(self, target_id: str) -> tuple[FailedNotification, ...]:
        resource = f"NOTIFICATION:{target_id}"
        return await self._query(resource, lambda: self._engine.notifications.failed(self._subject, target_id))

    async def retry_notification(self, notification_id: str) -> None:
        await self._execute("NOTIFICATION", self._engine.notifications.retry(self._subject, notification_id))

    async def notification_settings(self) -> NotificationSettings:
        return await self._query("NOTIFICATION", lambda: self._engine.notifications.settings(self._subject))

    async def set_notification_settings(self, request: NotificationSettingsRequest) -> NotificationSettings:
        return await self._execute("NOTIFICATION", self._engine.notifications.set_settings(self._subject, request))
