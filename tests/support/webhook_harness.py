"""A house whose webhooks are told by a real sender, over real HTTP, at times that the test moves."""

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


class _ThisLoop:
    """In the place of a :class:`LoopThread`: the house's engine lives on the test's own loop."""

    async def call(self, work: Awaitable[T]) -> T:
        return await work


def engine_handle(house: EngineHarness) -> EngineHandle:
    return EngineHandle(house.engine, cast("LoopThread", _ThisLoop()))


@contextlib.asynccontextmanager
async def webhook_workspace(root: Path) -> AsyncIterator[EngineHarness]:
    house = EngineHarness(root)
    await house.create()
    await house.open()
    await house.add_default_subjects()
    try:
        yield house
    finally:
        if house.is_open:
            await house.close()


@contextlib.asynccontextmanager
async def run_sender(house: EngineHarness, post: Post = post_pinned, **settings: Any) -> AsyncIterator[None]:
    """Tells the house's webhooks; addresses inside are allowed unless it is said otherwise."""
    sender = WebhookSender(engine_handle(house), post, **{"allow_private": True, **settings})
    running = asyncio.create_task(sender.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def add_webhook(house: EngineHarness, url: str, *events: WebhookEvent) -> IssuedWebhook:
    request = WebhookRequest(url=url, events=events)
    return await house.execute(ADMIN, house.engine.webhooks.add(ADMIN, request))


def get_webhook(house: EngineHarness, hook: IssuedWebhook) -> Webhook:
    """As whoever looks after webhooks sees it now."""
    return next(each for each in house.engine.webhooks.list_webhooks(ADMIN) if each.id == hook.webhook.id)


def first_pending(house: EngineHarness, hook: IssuedWebhook) -> OutboxMessage:
    return house.engine.webhook_outbox.pending(hook.webhook.id)[0]


async def wait_for_attempts(house: EngineHarness, hook: IssuedWebhook, times: int) -> OutboxMessage:
    """What is to be told first, once that has failed so often."""
    await house.wait_until(lambda: first_pending(house, hook).attempts == times)
    await house.wait_until_durable()
    return first_pending(house, hook)


async def next_try(house: EngineHarness, hook: IssuedWebhook, times: int) -> None:
    """Moves the clock to the time of the next try, once it has failed so often."""
    notice = await wait_for_attempts(house, hook, times)
    assert notice.retry_at is not None
    house.clock.move_to(notice.retry_at)
