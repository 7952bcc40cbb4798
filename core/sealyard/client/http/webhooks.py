"""The webhooks of a server's workspace."""

from __future__ import annotations

from sealyard.client.connection import Call
from sealyard.client.http.calls import segment
from sealyard.client.http.part import Part
from sealyard.model.webhooks import DeadLetter, NewWebhook, Webhook, WebhookRequest


class Webhooks(Part):
    async def webhooks(self) -> tuple[Webhook, ...]:
        return await self._calls.get("/webhook", tuple[Webhook, ...])

    async def add_webhook(self, request: WebhookRequest) -> NewWebhook:
        return await self._calls.send("POST", "/webhook", request, NewWebhook)

    async def remove_webhook(self, webhook_id: str) -> None:
        await self._calls.delete(f"/webhook/{segment(webhook_id)}")

    async def dead_letters(self, webhook_id: str) -> tuple[DeadLetter, ...]:
        return await self._calls.get(f"/webhook/{segment(webhook_id)}/deadLetter", tuple[DeadLetter, ...])

    async def redeliver(self, letter_id: str) -> None:
        await self._calls.answer(Call(method="POST", path=f"/deadLetter/{segment(letter_id)}/redelivery"))
