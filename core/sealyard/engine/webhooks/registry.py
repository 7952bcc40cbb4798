"""Use cases of webhooks: list, add and remove them, and redeliver messages that failed."""

from __future__ import annotations

import base64
import secrets

import msgspec

from sealyard.engine.state.ids import new_id
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.secret_box import SecretBox
from sealyard.engine.state.tables import DEAD_LETTERS, OUTBOX, WEBHOOKS, OutboxMessage, StoredWebhook
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.engine.webhooks.outbox import WebhookOutbox, secret_context, webhook_resource
from sealyard.model.access import Action, ResourceType
from sealyard.model.audit import AuditAction
from sealyard.model.errors import NotFoundError
from sealyard.model.safe_text import escape_text
from sealyard.model.webhook_url import parse_webhook_url
from sealyard.model.webhooks import DeadLetter, IssuedWebhook, Webhook, WebhookRequest

SECRET_BYTES = 32
SECRET_PREFIX = "whsec_"  # noqa: S105 - prefix required by the Standard Webhooks specification, not a secret


class WebhookRegistry:
    """Manages webhooks. Every method requires permission to update the policy."""

    def __init__(
        self, repository: Repository, permissions: Permissions, secret_box: SecretBox, outbox: WebhookOutbox
    ) -> None:
        self._repository = repository
        self._permissions = permissions
        self._secret_box = secret_box
        self._outbox = outbox

    def list_webhooks(self, subject: str) -> tuple[Webhook, ...]:
        """Return all webhooks with their message counts, oldest first."""
        self._require(subject)
        webhooks = [self._with_counts(stored.webhook) for stored in self._repository.list_all(WEBHOOKS)]
        return tuple(sorted(webhooks, key=lambda webhook: (webhook.created_at, webhook.id)))

    async def add(self, subject: str, request: WebhookRequest) -> IssuedWebhook:
        """Add a webhook that receives all events from now on, and return it with its secret.

        Raises :class:`UsageError` if the URL is not valid for a webhook.
        """
        self._require(subject)
        url = parse_webhook_url(request.url)
        webhook = Webhook(
            id=new_id(),
            url=request.url,
            created_by=subject,
            created_at=self._repository.clock.now(),
            events=tuple(dict.fromkeys(request.events)),
            delivered=self._repository.events.cursor,
        )
        secret = secrets.token_bytes(SECRET_BYTES)
        work = self._repository.begin()
        work.put(
            WEBHOOKS,
            webhook.id,
            StoredWebhook(webhook=webhook, secret=self._secret_box.encrypt(secret, secret_context(webhook.id))),
        )
        new_value = {"origin": url.origin, "events": list(webhook.events)}
        work.audit(subject, AuditAction.CREATED, webhook_resource(webhook.id), "webhook added", new_value)
        await self._commit(work, webhook.id)
        return IssuedWebhook(webhook=webhook, secret=SECRET_PREFIX + base64.b64encode(secret).decode())

    async def remove(self, subject: str, webhook_id: str) -> None:
        """Remove a webhook together with its pending messages and dead letters."""
        self._require(subject)
        webhook = self._webhook(webhook_id)
        work = self._repository.begin()
        work.delete(WEBHOOKS, webhook.id)
        for message in self._outbox.pending(webhook.id):
            work.delete(OUTBOX, message.id)
        for stored in self._outbox.dead_letters(webhook.id):
            work.delete(DEAD_LETTERS, stored.dead_letter.id)
        work.audit(subject, AuditAction.DELETED, webhook_resource(webhook.id), "webhook removed")
        await self._commit(work, webhook.id)

    def dead_letters(self, subject: str, webhook_id: str) -> tuple[DeadLetter, ...]:
        """Return the dead letters of a webhook, oldest event first."""
        self._require(subject)
        return tuple(stored.dead_letter for stored in self._outbox.dead_letters(self._webhook(webhook_id).id))

    async def redeliver(self, subject: str, letter_id: str) -> None:
        """Move a dead letter back to the outbox, with its attempts reset and ahead of messages for later events.

        Raises :class:`NotFoundError` if there is no such dead letter.
        """
        self._require(subject)
        stored = self._repository.get(DEAD_LETTERS, letter_id)
        if stored is None:
            raise NotFoundError(
                f"Failed delivery {escape_text(letter_id, 80)} not found.",
                "List failed deliveries with `sealyard webhook dead-letters`.",
            )
        letter = stored.dead_letter
        work = self._repository.begin()
        work.delete(DEAD_LETTERS, letter.id)
        work.put(OUTBOX, letter.id, OutboxMessage(id=letter.id, webhook_id=letter.webhook_id, change=stored.change))
        message = f"{letter.event} of task {letter.task_id} queued again"
        work.audit(subject, AuditAction.RENEWED, webhook_resource(letter.webhook_id), message)
        await self._commit(work, letter.webhook_id)

    async def _commit(self, work: UnitOfWork, webhook_id: str) -> None:
        work.notify(webhook_resource(webhook_id))
        await work.commit()
        self._outbox.notify()

    def _require(self, subject: str) -> None:
        self._permissions.require_type(subject, Action.UPDATE, ResourceType.POLICY)

    def _webhook(self, webhook_id: str) -> Webhook:
        stored = self._repository.get(WEBHOOKS, webhook_id)
        if stored is None:
            raise NotFoundError(
                f"Webhook {escape_text(webhook_id, 80)} not found.", "List webhooks with `sealyard webhook list`."
            )
        return stored.webhook

    def _with_counts(self, webhook: Webhook) -> Webhook:
        pending, dead_letters = self._outbox.counts(webhook.id)
        return msgspec.structs.replace(webhook, pending_count=pending, dead_letters=dead_letters)
