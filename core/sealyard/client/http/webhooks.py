"""API calls for webhooks and their dead letters."""

from __future__ import annotations

from sealyard.client.http.requests import ApiCalls, path_segment
from sealyard.client.http.transport import Request
from sealyard.model.webhooks import DeadLetter, IssuedWebhook, Webhook, WebhookRequest


class WebhookCalls(ApiCalls):
    """API calls for webhooks."""

    async def webhooks(self) -> tuple[Webhook, ...]:
        return await self._sender.get("/webhook", tuple[Webhook, ...])

    async def add_webhook(self, request: WebhookRequest) -> IssuedWebhook:
        return await self._sender.send("POST", "/webhook", request, IssuedWebhook)

    async def remove_webhook(self, webhook_id: str) -> None:
        await self._sender.delete(f"/webhook/{path_segment(webhook_id)}")

    async def dead_letters(self, webhook_id: str) -> tuple[DeadLetter, ...]:
        return await self._sender.get(f"/webhook/{path_segment(webhook_id)}/deadLetter", tuple[DeadLetter, ...])

    async def redeliver(self, letter_id: str) -> None:
        await self._sender.send_retrying(
            Request(method="POST", path=f"/deadLetter/{path_segment(letter_id)}/redelivery")
        )
