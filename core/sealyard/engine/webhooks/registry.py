"""Use cases of webhooks: list, add and remove them, and redeliver dead letters."""

from __future__ import annotations

import base64
import secrets
from typing import Any

import msgspec

from sealyard.engine.state.ids import new_id
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.secret_box import SecretBox
from sealyard.engine.state.tables import DEAD_LETTERS, WEBHOOKS, StoredWebhook
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.engine.webhooks.outbox import WebhookOutbox, secret_context
from sealyard.model.access import Action, ResourceType
from sealyard.model.audit import AuditAction
from sealyard.model.errors import NotFoundError
from sealyard.model.hints import Hint, HintCode
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
        """Return all webhooks, oldest first, with the numbers of their pending messages and dead letters."""
        self._require_permission(subject)
        webhooks = [self._add_counts(stored_webhook.webhook) for stored_webhook in self._repository.list_all(WEBHOOKS)]
        return tuple(sorted(webhooks, key=lambda webhook: (webhook.created_at, webhook.id)))

    async def add(self, subject: str, request: WebhookRequest) -> IssuedWebhook:
        """Add a webhook that receives future events, and return it with its secret.

        Raises :class:`UsageError` if the URL is not valid for a webhook.
        """
        self._require_permission(subject)
        parse_webhook_url(request.url)
        webhook = Webhook(
            id=new_id(),
            url=request.url,
            created_by=subject,
            created_at=self._repository.clock.now(),
            events=tuple(dict.fromkeys(request.events)),
        )
        secret = secrets.token_bytes(SECRET_BYTES)
        unit_of_work = self._repository.begin()
        unit_of_work.put(
            WEBHOOKS,
            webhook.id,
            StoredWebhook(webhook=webhook, secret=self._secret_box.encrypt(secret, secret_context(webhook.id))),
        )
        unit_of_work.audit(
            subject,
            AuditAction.CREATED,
            self._outbox.tables.resource(webhook.id),
            "webhook added",
            _audit_value(webhook),
        )
        await self._commit(unit_of_work, webhook.id)
        return IssuedWebhook(webhook=webhook, secret=SECRET_PREFIX + base64.b64encode(secret).decode())

    async def remove(self, subject: str, webhook_id: str) -> None:
        """Remove a webhook together with its pending messages and dead letters."""
        self._require_permission(subject)
        webhook = self._get_webhook(webhook_id)
        unit_of_work = self._repository.begin()
        self._outbox.delete_receiver(unit_of_work, webhook.id)
        resource = self._outbox.tables.resource(webhook.id)
        unit_of_work.audit(subject, AuditAction.DELETED, resource, "webhook removed", old_value=_audit_value(webhook))
        await self._commit(unit_of_work, webhook.id)

    def dead_letters(self, subject: str, webhook_id: str) -> tuple[DeadLetter, ...]:
        """Return the dead letters of a webhook, oldest event first."""
        self._require_permission(subject)
        return tuple(
            stored_letter.dead_letter for stored_letter in self._outbox.dead_letters(self._get_webhook(webhook_id).id)
        )

    async def redeliver(self, subject: str, letter_id: str) -> None:
        """Move a dead letter back to the outbox: without failed attempts, and before the messages of later events.

        Raises :class:`NotFoundError` if there is no such dead letter.
        """
        self._require_permission(subject)
        stored_letter = self._repository.get(DEAD_LETTERS, letter_id)
        if stored_letter is None:
            raise NotFoundError(
                f"Failed delivery {escape_text(letter_id, 80)} not found.",
                Hint.of(HintCode.LIST_FAILED_DELIVERIES),
            )
        dead_letter = stored_letter.dead_letter
        unit_of_work = self._repository.begin()
        self._outbox.requeue(unit_of_work, stored_letter)
        message = f"{dead_letter.event} of {dead_letter.label} queued again"
        unit_of_work.audit(subject, AuditAction.RENEWED, self._outbox.tables.resource(dead_letter.webhook_id), message)
        await self._commit(unit_of_work, dead_letter.webhook_id)

    async def _commit(self, unit_of_work: UnitOfWork, webhook_id: str) -> None:
        unit_of_work.notify(self._outbox.tables.resource(webhook_id))
        await unit_of_work.commit()
        self._outbox.notify()

    def _require_permission(self, subject: str) -> None:
        self._permissions.require_type(subject, Action.UPDATE, ResourceType.POLICY)

    def _get_webhook(self, webhook_id: str) -> Webhook:
        stored_webhook = self._repository.get(WEBHOOKS, webhook_id)
        if stored_webhook is None:
            raise NotFoundError(f"Webhook {escape_text(webhook_id, 80)} not found.", Hint.of(HintCode.LIST_WEBHOOKS))
        return stored_webhook.webhook

    def _add_counts(self, webhook: Webhook) -> Webhook:
        pending_count, dead_letter_count = self._outbox.counts(webhook.id)
        return msgspec.structs.replace(webhook, pending_count=pending_count, dead_letters=dead_letter_count)


def _audit_value(webhook: Webhook) -> dict[str, Any]:
    """Return the value for audit entries: only the origin of the URL, whose path may contain a secret."""
    return {"origin": parse_webhook_url(webhook.url).origin, "events": list(webhook.events)}
