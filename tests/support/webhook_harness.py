"""Harness for tests of webhooks: a real sender over real HTTP, with a fake clock."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, TypeVar, cast

from sealyard.client.engine_handle import EngineHandle
from sealyard.client.http.pinned import post_pinned
from sealyard.concurrency.loop_thread import LoopThread
from sealyard.engine.state.tables import OutboxMessage
from sealyard.model.webhooks import IssuedWebhook, Webhook, WebhookEvent, WebhookRequest
from sealyard.server.webhooks.sender import Post, WebhookSender
from tests.support.engine_harness import ADMIN, EngineHarness

T = TypeVar("T")


class _CurrentLoop:
    """Replaces :class:`LoopThread`, because the engine of the harness runs on the event loop of the test."""

    async def call(self, work: Awaitable[T]) -> T:
        return await work


def engine_handle(harness: EngineHarness) -> EngineHandle:
    return EngineHandle(harness.engine, cast("LoopThread", _CurrentLoop()))


@contextlib.asynccontextmanager
async def webhook_workspace(root: Path) -> AsyncIterator[EngineHarness]:
    harness = EngineHarness(root)
    await harness.create()
    await harness.open()
    await harness.add_default_subjects()
    try:
        yield harness
    finally:
        if harness.is_open:
            await harness.close()


@contextlib.asynccontextmanager
async def run_sender(harness: EngineHarness, post: Post = post_pinned, **settings: Any) -> AsyncIterator[None]:
    """Run the webhook sender. Private addresses are allowed unless ``settings`` forbids them."""
    sender = WebhookSender(engine_handle(harness), post, **{"allow_private": True, **settings})
    sender_task = asyncio.create_task(sender.run())
    try:
        yield
    finally:
        sender_task.cancel()
        await asyncio.gather(sender_task, return_exceptions=True)


async def add_webhook(harness: EngineHarness, url: str, *events: WebhookEvent) -> IssuedWebhook:
    request = WebhookRequest(url=url, events=events)
    return await harness.execute(ADMIN, harness.engine.webhooks.add(ADMIN, request))


def get_webhook(harness: EngineHarness, webhook: IssuedWebhook) -> Webhook:
    """Return the current state of the webhook."""
    return next(each for each in harness.engine.webhooks.list_webhooks(ADMIN) if each.id == webhook.webhook.id)


def first_pending(harness: EngineHarness, webhook: IssuedWebhook) -> OutboxMessage:
    return harness.engine.webhook_outbox.pending(webhook.webhook.id)[0]


async def wait_for_attempts(harness: EngineHarness, webhook: IssuedWebhook, times: int) -> OutboxMessage:
    """Return the first pending message after ``times`` failed attempts."""
    await harness.wait_until(lambda: first_pending(harness, webhook).attempts == times)
    await harness.wait_until_durable()
    return first_pending(harness, webhook)


async def advance_to_retry(harness: EngineHarness, webhook: IssuedWebhook, times: int) -> None:
    """Move the clock to the next attempt after ``times`` failed attempts."""
    message = await wait_for_attempts(harness, webhook, times)
    assert message.retry_at is not None
    harness.clock.move_to(message.retry_at)
