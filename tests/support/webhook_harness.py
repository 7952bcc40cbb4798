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
from tests.support.engine_harness import ADMIN, House

T = TypeVar("T")


class _ThisLoop:
    """In the place of a :class:`LoopThread`: the house's engine lives on the test's own loop."""

    async def call(self, work: Awaitable[T]) -> T:
        return await work


def host_of(house: House) -> EngineHandle:
    return EngineHandle(house.engine, cast("LoopThread", _ThisLoop()))


@contextlib.asynccontextmanager
async def settled_house(root: Path) -> AsyncIterator[House]:
    house = House(root)
    await house.found()
    await house.open()
    await house.settle()
    try:
        yield house
    finally:
        if house.is_open:
            await house.close()


@contextlib.asynccontextmanager
async def sending(house: House, post: Post = post_pinned, **settings: Any) -> AsyncIterator[None]:
    """Tells the house's webhooks; addresses inside are allowed unless it is said otherwise."""
    sender = WebhookSender(host_of(house), post, **{"allow_private": True, **settings})
    running = asyncio.create_task(sender.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def hooked(house: House, url: str, *events: WebhookEvent) -> IssuedWebhook:
    request = WebhookRequest(url=url, events=events)
    return await house.do(ADMIN, house.engine.webhooks.add(ADMIN, request))


def seen(house: House, hook: IssuedWebhook) -> Webhook:
    """As whoever looks after webhooks sees it now."""
    return next(each for each in house.engine.webhooks.list_webhooks(ADMIN) if each.id == hook.webhook.id)


def first_waiting(house: House, hook: IssuedWebhook) -> OutboxMessage:
    return house.engine.webhook_outbox.pending(hook.webhook.id)[0]


async def failed(house: House, hook: IssuedWebhook, times: int) -> OutboxMessage:
    """What is to be told first, once that has failed so often."""
    await house.until(lambda: first_waiting(house, hook).attempts == times)
    await house.durable()
    return first_waiting(house, hook)


async def next_try(house: House, hook: IssuedWebhook, times: int) -> None:
    """Moves the clock to the time of the next try, once it has failed so often."""
    notice = await failed(house, hook, times)
    assert notice.retry_at is not None
    house.clock.move_to(notice.retry_at)
