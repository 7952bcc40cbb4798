"""Sends what the webhooks' outbox holds: one lane for each webhook, in order, again and again until it is taken."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.webhooks.outbox import PendingDelivery
from sealyard.model.errors import SealyardError, ServerUnreachableError
from sealyard.model.webhook_url import parse_webhook_url
from sealyard.server.webhooks.payload import encode_payload, signed_headers
from sealyard.server.webhooks.retry_policy import FEW_TRIES, MAX_TRIES, DeliveryFailure, classify_response, next_delay
from sealyard.server.webhooks.ssrf import Resolve, resolve_allowed, resolve_with_system

if TYPE_CHECKING:
    from sealyard.client.http.pinned import PinnedResponse

Post = Callable[[str, str, Mapping[str, str], bytes], Awaitable["PinnedResponse"]]
"""URL, the IP address to connect to, headers and body: :func:`sealyard.client.http.pinned.post_pinned`."""

PAUSE_SECONDS = 5.0

log = logging.getLogger(__name__)


class WebhookSender:
    """Runs beside an engine that is served. At least once: a message may come again, with the same id.

    ``allow_private``: webhooks may have any address, and need no https. ``allow_http``: https is not needed.
    """

    def __init__(
        self,
        host: EngineHandle,
        post: Post,
        *,
        resolve: Resolve = resolve_with_system,
        allow_private: bool = False,
        allow_http: bool = False,
    ) -> None:
        self._host = host
        self._outbox = host.engine.webhook_outbox
        self._workspace_id = host.engine.metadata.id
        self._clock = host.engine.repository.clock
        self._post = post
        self._resolve = resolve
        self._allow_private = allow_private
        self._allow_http = allow_http

    async def run(self) -> None:
        """Until it is cancelled; what was under way then is sent again by the next one."""
        known: frozenset[str] = frozenset()
        async with asyncio.TaskGroup() as lanes:
            while True:
                strangers = await self._host.run(self._outbox.new_webhooks(known))
                for each in strangers:
                    lanes.create_task(self._deliver_all(each))
                known |= strangers

    async def _deliver_all(self, webhook_id: str) -> None:
        while True:
            try:
                due = await self._host.run(self._outbox.next_delivery(webhook_id))
                if due is None:
                    return
                await self._attempt(due)
            except Exception:
                # Whatever it is: the other lanes go on, and this one soon.
                log.exception("webhook %s cannot be served at present", webhook_id)
                await self._clock.sleep(PAUSE_SECONDS)

    async def _attempt(self, due: PendingDelivery) -> None:
        failure = await self._failure(due)
        if failure is None:
            await self._host.run(self._outbox.mark_delivered(due.message))
            return
        seconds = next_delay(failure, due.message.attempts + 1)
        if seconds is not None:
            await self._host.run(self._outbox.mark_failed(due.message, failure.error, seconds))
            return
        log.warning("webhook %s: %s was given up: %s", due.message.webhook_id, due.message.id, failure.error)
        await self._host.run(self._outbox.move_to_dead_letters(due.message, failure.error))

    async def _failure(self, due: PendingDelivery) -> DeliveryFailure | None:
        try:
            answer = await self._send(due)
        except ServerUnreachableError as error:
            return DeliveryFailure(error=error.message, tries=MAX_TRIES)
        except SealyardError as error:
            return DeliveryFailure(error=error.message, tries=FEW_TRIES)
        return classify_response(answer, self._clock.now())

    async def _send(self, due: PendingDelivery) -> PinnedResponse:
        url = parse_webhook_url(due.url)
        addresses = await resolve_allowed(
            url, self._resolve, allow_private=self._allow_private, allow_http=self._allow_http
        )
        address = addresses[due.message.attempts % len(addresses)]
        body = encode_payload(self._workspace_id, due.message.change)
        headers = signed_headers(self._workspace_id, due, body, self._clock.now())
        return await self._post(due.url, address, headers, body)
