"""Routes for notifications, which tell people about requests by e-mail and chat."""

from __future__ import annotations

from litestar import Controller, delete, get, post, put
from litestar.params import FromPath, JSONBody

from sealyard.model.notifications import (
    FailedNotification,
    NotificationSettings,
    NotificationSettingsRequest,
    NotificationTarget,
    NotificationTargetRequest,
    NotificationTestResult,
)
from sealyard.server.auth.caller import CallerDependency


class NotificationController(Controller):
    """Endpoints for notification targets and settings. The URLs of chat channels are never returned."""

    path = "/notification"
    tags = ["notifications"]

    @get("/target", summary="List your notification targets, or all if you may update the policy")
    async def targets(self, caller: CallerDependency) -> list[NotificationTarget]:
        return list(await caller.client.notification_targets())

    @post("/target", summary="Add a notification target")
    async def add(self, caller: CallerDependency, data: JSONBody[NotificationTargetRequest]) -> NotificationTarget:
        return await caller.client.add_notification_target(data)

    @delete("/target/{target_id:str}", summary="Remove a notification target and its messages")
    async def remove(self, caller: CallerDependency, target_id: FromPath[str]) -> None:
        await caller.client.remove_notification_target(target_id)

    @post("/target/{target_id:str}/test", status_code=200, summary="Send a test message")
    async def test(self, caller: CallerDependency, target_id: FromPath[str]) -> NotificationTestResult:
        return await caller.client.test_notification_target(target_id)

    @get("/target/{target_id:str}/failed", summary="List the undeliverable notifications of a target")
    async def failed(self, caller: CallerDependency, target_id: FromPath[str]) -> list[FailedNotification]:
        return list(await caller.client.failed_notifications(target_id))

    @post("/failed/{notification_id:str}/retry", status_code=202, summary="Retry an undeliverable notification")
    async def retry(self, caller: CallerDependency, notification_id: FromPath[str]) -> None:
        await caller.client.retry_notification(notification_id)

    @get("/settings", summary="Return the notification settings")
    async def settings(self, caller: CallerDependency) -> NotificationSettings:
        return await caller.client.notification_settings()

    @put("/settings", summary="Replace the notification settings")
    async def set_settings(
        self, caller: CallerDependency, data: JSONBody[NotificationSettingsRequest]
    ) -> NotificationSettings:
        return await caller.client.set_notification_settings(data)
