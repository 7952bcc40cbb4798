"""Delivery of the messages in the webhook outbox: in order for each webhook, with retries."""

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
"""Function that sends a POST request. Arguments: URL, IP address to connect to, headers, body.

See :func:`sealyard.client.http.pinned.post_pinned`.
"""

RETRY_SECONDS = 5.0
"""Delay in seconds after an unexpected error before the next attempt."""

log = logging.getLogger(__name__)


class WebhookSender:
    """Sender that delivers each message at least once. A message keeps its id if it is sent again.

    ``allow_private``: whether to allow all addresses and plain HTTP. ``allow_http``: whether to allow plain HTTP to
    public addresses.
    """

    def __init__(
        self,
        engine_handle: EngineHandle,
        post: Post,
        *,
        resolve: Resolve = resolve_with_system,
        allow_private: bool = False,
        allow_http: bool = False,
    ) -> None:
        self._engine_handle = engine_handle
        self._outbox = engine_handle.engine.webhook_outbox
        self._workspace_id = engine_handle.engine.metadata.id
        self._clock = engine_handle.engine.repository.clock
        self._post = post
        self._resolve = resolve
        self._allow_private = allow_private
        self._allow_http = allow_http

    async def run(self) -> None:
        """Deliver messages until cancelled. An interrupted delivery is repeated by the next sender."""
        known_ids: frozenset[str] = frozenset()
        async with asyncio.TaskGroup() as deliveries:
            while True:
                new_ids = await self._engine_handle.run(self._outbox.new_webhooks(known_ids))
                for webhook_id in new_ids:
                    deliveries.create_task(self._deliver_all(webhook_id))
                known_ids |= new_ids

    async def _deliver_all(self, webhook_id: str) -> None:
        """Deliver the messages of one webhook until it is removed."""
        while True:
            try:
                delivery = await self._engine_handle.run(self._outbox.next_delivery(webhook_id))
                if delivery is None:
                    return
                await self._attempt_delivery(delivery)
            except Exception:
                # An error that reached the task group would cancel the deliveries of all webhooks.
                log.exception("webhook %s: delivery failed unexpectedly", webhook_id)
                await self._clock.sleep(RETRY_SECONDS)

    async def _attempt_delivery(self, delivery: PendingDelivery) -> None:
        message = delivery.message
        failure = await self._send(delivery)
        if failure is None:
            await self._engine_handle.run(self._outbox.mark_delivered(message))
            return
        delay = next_delay(failure, message.attempts + 1)
        if delay is not None:
            await self._engine_handle.run(self._outbox.mark_failed(message, failure.error, delay))
            return
        log.warning("webhook %s: message %s is undeliverable: %s", message.webhook_id, message.id, failure.error)
        await self._engine_handle.run(self._outbox.move_to_dead_letters(message, failure.error))

    async def _send(self, delivery: PendingDelivery) -> DeliveryFailure | None:
        """Send a message once, and return the failure, or None if the receiver accepted the message."""
        try:
            response = await self._post_signed(delivery)
        except ServerUnreachableError as error:
            return DeliveryFailure(error=error.message, tries=MAX_TRIES)
        except SealyardError as error:
            return DeliveryFailure(error=error.message, tries=FEW_TRIES)
        return classify_response(response, self._clock.now())

    async def _post_signed(self, delivery: PendingDelivery) -> PinnedResponse:
        url = parse_webhook_url(delivery.url)
        addresses = await resolve_allowed(
            url, self._resolve, allow_private=self._allow_private, allow_http=self._allow_http
        )
        address = addresses[delivery.message.attempts % len(addresses)]
        body = encode_payload(self._workspace_id, delivery.message.change)
        headers = signed_headers(self._workspace_id, delivery, body, self._clock.now())
        return await self._post(delivery.url, address, headers, body)
