"""Webhooks: who outside is told of results and approvals."""

from __future__ import annotations

from litestar import Controller, delete, get, post
from litestar.params import FromPath, JSONBody

from sealyard.model.webhooks import DeadLetter, IssuedWebhook, Webhook, WebhookRequest
from sealyard.server.auth.caller import CallerDependency


class WebhookController(Controller):
    """Their messages are signed (Standard Webhooks); the secret is shown once, when one is made."""

    path = "/webhook"
    tags = ["webhooks"]

    @get("/", summary="The webhooks")
    async def webhooks(self, caller: CallerDependency) -> list[Webhook]:
        return list(await caller.client.webhooks())

    @post("/", summary="Adds a webhook")
    async def add(self, caller: CallerDependency, data: JSONBody[WebhookRequest]) -> IssuedWebhook:
        return await caller.client.add_webhook(data)

    @delete("/{webhook_id:str}", summary="Removes a webhook")
    async def remove(self, caller: CallerDependency, webhook_id: FromPath[str]) -> None:
        await caller.client.remove_webhook(webhook_id)

    @get("/{webhook_id:str}/deadLetter", summary="What it could not be told of")
    async def dead_letters(self, caller: CallerDependency, webhook_id: FromPath[str]) -> list[DeadLetter]:
        return list(await caller.client.dead_letters(webhook_id))


class DeadLetterController(Controller):
    """What was given up."""

    path = "/deadLetter"
    tags = ["webhooks"]

    @post("/{letter_id:str}/redelivery", status_code=202, summary="Takes a dead letter up again")
    async def redeliver(self, caller: CallerDependency, letter_id: FromPath[str]) -> None:
        await caller.client.redeliver(letter_id)
