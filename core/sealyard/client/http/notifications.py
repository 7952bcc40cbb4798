"""API calls for notifications of people."""

from __future__ import annotations

from sealyard.client.http.requests import ApiCalls, path_segment
from sealyard.client.http.transport import Request
from sealyard.model.notifications import (
    FailedNotification,
    NotificationSettings,
    NotificationSettingsRequest,
    NotificationTarget,
    NotificationTargetRequest,
    NotificationTestResult,
)

TEST_SECONDS = 60.0
"""Timeout of a test message, which the server answers once the message was sent."""


class NotificationCalls(ApiCalls):
    """API calls for notification targets and settings."""

    async def notification_targets(self) -> tuple[NotificationTarget, ...]:
        return await self._sender.get("/notification/target", tuple[NotificationTarget, ...])

    async def add_notification_target(self, request: NotificationTargetRequest) -> NotificationTarget:
        return await self._sender.send("POST", "/notification/target", request, NotificationTarget)

    async def remove_notification_target(self, target_id: str) -> None:
        await self._sender.delete(f"/notification/target/{path_segment(target_id)}")

    async def test_notification_target(self, target_id: str) -> NotificationTestResult:
        request = Request(
            method="POST",
            path=f"/notification/target/{path_segment(target_id)}/test",
            read_timeout=TEST_SECONDS,
        )
        return self._sender.decode(await self._sender.send_retrying(request), NotificationTestResult)

    async def failed_notifications(self, target_id: str) -> tuple[FailedNotification, ...]:
        path = f"/notification/target/{path_segment(target_id)}/failed"
        return await self._sender.get(path, tuple[FailedNotification, ...])

    async def retry_notification(self, notification_id: str) -> None:
        path = f"/notification/failed/{path_segment(notification_id)}/retry"
        await self._sender.send_retrying(Request(method="POST", path=path))

    async def notification_settings(self) -> NotificationSettings:
        return await self._sender.get("/notification/settings", NotificationSettings)

    async def set_notification_settings(self, request: NotificationSettingsRequest) -> NotificationSettings:
        return await self._sender.send("PUT", "/notification/settings", request, NotificationSettings)
