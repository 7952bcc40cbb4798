"""Routes for webhooks, which notify other systems of results and approvals."""

from __future__ import annotations

from litestar import Controller, delete, get, post
from litestar.params import FromPath, JSONBody

from sealyard.model.webhooks import DeadLetter, IssuedWebhook, Webhook, WebhookRequest
from sealyard.server.auth.caller import CallerDependency


class WebhookController(Controller):
    """Endpoints for webhooks. Only the response to POST contains the secret with which the messages are signed."""

    path = "/webhook"
    tags = ["webhooks"]

    @get("/", summary="List webhooks")
    async def webhooks(self, caller: CallerDependency) -> list[Webhook]:
        return list(await caller.client.webhooks())

    @post("/", summary="Add a webhook")
    async def add(self, caller: CallerDependency, data: JSONBody[WebhookRequest]) -> IssuedWebhook:
        return await caller.client.add_webhook(data)

    @delete("/{webhook_id:str}", summary="Remove a webhook and its pending messages")
    async def remove(self, caller: CallerDependency, webhook_id: FromPath[str]) -> None:
        await caller.client.remove_webhook(webhook_id)

    @get("/{webhook_id:str}/deadLetter", summary="List the undeliverable messages of a webhook")
    async def dead_letters(self, caller: CallerDependency, webhook_id: FromPath[str]) -> list[DeadLetter]:
        return list(await caller.client.dead_letters(webhook_id))


class DeadLetterController(Controller):
    """Endpoint that retries undeliverable webhook messages."""

    path = "/deadLetter"
    tags = ["webhooks"]

    @post("/{letter_id:str}/redelivery", status_code=202, summary="Retry an undeliverable message")
    async def redeliver(self, caller: CallerDependency, letter_id: FromPath[str]) -> None:
        await caller.client.redeliver(letter_id)
