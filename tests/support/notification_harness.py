"""Helpers for tests of notifications."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from sealyard.engine.notifications.outbox import COALESCING_SECONDS, NotificationDelivery
from sealyard.model.notifications import (
    MailServer,
    NotificationEvent,
    NotificationSettings,
    NotificationSettingsRequest,
    NotificationTarget,
    NotificationTargetRequest,
)
from sealyard.server.notifications.sender import NotificationSender
from tests.support.engine_harness import ADMIN, EngineHarness
from tests.support.limits import TIMEOUT
from tests.support.webhook_harness import engine_handle

EMAIL = "owner@example.org"
MAIL_SERVER = MailServer(host="mail.example.org", port=587, sender="sealyard@example.org")


async def add_target(
    harness: EngineHarness, subject: str, *events: NotificationEvent, address: str = EMAIL, by: str = "", **more: Any
) -> NotificationTarget:
    """Add a target of ``subject``; an empty subject adds one of the device configuration in ``more``."""
    request = NotificationTargetRequest(address=address, subject=subject, events=events, **more)
    author = by or subject or ADMIN
    return await harness.execute(author, harness.engine.notifications.add_target(author, request))


async def set_settings(harness: EngineHarness, **changes: Any) -> NotificationSettings:
    request = NotificationSettingsRequest(**{"mail_server": MAIL_SERVER, **changes})
    return await harness.execute(ADMIN, harness.engine.notifications.set_settings(ADMIN, request))


def pending_events(harness: EngineHarness, target: NotificationTarget) -> list[str]:
    """Return the webhook events of the queued notifications."""
    return [str(each.change.notification) for each in harness.engine.notifications.outbox.pending(target.id)]


def current_target(harness: EngineHarness, target: NotificationTarget) -> NotificationTarget:
    targets = harness.engine.notifications.list_targets(ADMIN)
    return next(each for each in targets if each.id == target.id)


async def next_delivery(harness: EngineHarness, target: NotificationTarget) -> NotificationDelivery:
    """Return the next message to the target, after the time in which it waits for others."""
    harness.clock.advance(seconds=COALESCING_SECONDS)
    async with asyncio.timeout(TIMEOUT):
        delivery = await harness.engine.notifications.outbox.next_delivery(target.id)
    assert delivery is not None
    return delivery


async def discard_obsolete(harness: EngineHarness, target: NotificationTarget) -> None:
    """Let the outbox delete the notifications that no longer apply; none may be left."""
    harness.clock.advance(seconds=COALESCING_SECONDS)
    waiting = asyncio.ensure_future(harness.engine.notifications.outbox.next_delivery(target.id))
    await harness.wait_until(lambda: not harness.engine.notifications.outbox.pending(target.id))
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


@contextlib.asynccontextmanager
async def run_sender(harness: EngineHarness, *, allow_private: bool = True) -> AsyncIterator[None]:
    """Run the sender of notifications."""
    sender_task = asyncio.create_task(NotificationSender(engine_handle(harness), allow_private=allow_private).run())
    await harness.wait_until(lambda: harness.engine.notifications.outbox.has_sender)
    try:
        yield
    finally:
        sender_task.cancel()
        await asyncio.gather(sender_task, return_exceptions=True)
