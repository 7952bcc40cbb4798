"""Delivery of webhook messages as signed POST requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.webhooks.outbox import PendingDelivery
from sealyard.model.errors import SealyardError, ServerUnreachableError
from sealyard.model.webhook_url import parse_webhook_url
from sealyard.server.delivery.retry_policy import FEW_TRIES, MAX_TRIES, DeliveryFailure, classify_response
from sealyard.server.delivery.sender import OutboxSender
from sealyard.server.delivery.ssrf import Resolve, resolve_allowed, resolve_with_system
from sealyard.server.webhooks.payload import encode_payload, signed_headers

if TYPE_CHECKING:
    from sealyard.client.http.pinned import PinnedResponse

Post = Callable[[str, str, Mapping[str, str], bytes], Awaitable["PinnedResponse"]]
"""Function that sends a POST request. Arguments: URL, IP address to connect to, headers, body.

See :func:`sealyard.client.http.pinned.post_pinned`.
"""


class WebhookSender(OutboxSender[PendingDelivery]):
    """Sender of webhook messages.

    ``allow_private``: allow all addresses, and plain HTTP. ``allow_http``: allow plain HTTP to public addresses.
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
        super().__init__(engine_handle, engine_handle.engine.webhook_outbox)
        self._post = post
        self._resolve = resolve
        self._allow_private = allow_private
        self._allow_http = allow_http

    async def _send(self, delivery: PendingDelivery) -> DeliveryFailure | None:
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
