"""Webhooks of a workspace: who has them, adds and removes them, and what they could not be told."""

from __future__ import annotations

import base64
import secrets

import msgspec

from sealyard.engine.state.ids import new_id
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository, UnitOfWork
from sealyard.engine.state.secret_box import SecretBox
from sealyard.engine.state.tables import DEAD_LETTERS, OUTBOX, WEBHOOKS, OutboxMessage, StoredWebhook
from sealyard.engine.webhooks.outbox import WebhookOutbox, secret_context, webhook_resource
from sealyard.model.access import Action, ResourceType
from sealyard.model.audit import AuditAction
from sealyard.model.errors import NotFoundError
from sealyard.model.safe_text import escape_text
from sealyard.model.webhook_url import parse_webhook_url
from sealyard.model.webhooks import DeadLetter, IssuedWebhook, Webhook, WebhookRequest

SECRET_BYTES = 32
SECRET_PREFIX = "whsec_"  # noqa: S105 - how the specification wants secrets to begin, not one


class WebhookRegistry:
    """For whoever may update the policy."""

    def __init__(self, ledger: Repository, rights: Permissions, sealed: SecretBox, outbox: WebhookOutbox) -> None:
        self._ledger = ledger
        self._rights = rights
        self._sealed = sealed
        self._outbox = outbox

    def list_webhooks(self, subject: str) -> tuple[Webhook, ...]:
        """Oldest first."""
        self._require(subject)
        found = [self._with_counts(each.webhook) for each in self._ledger.list_all(WEBHOOKS)]
        return tuple(sorted(found, key=lambda each: (each.created_at, each.id)))

    async def add(self, subject: str, request: WebhookRequest) -> IssuedWebhook:
        """It is told of what happens from now on. Raises :class:`UsageError` for what is no URL for a webhook."""
        self._require(subject)
        url = parse_webhook_url(request.url)
        webhook = Webhook(
            id=new_id(),
            url=request.url,
            created_by=subject,
            created_at=self._ledger.clock.now(),
            events=tuple(dict.fromkeys(request.events)),
            delivered=self._ledger.events.cursor,
        )
        secret = secrets.token_bytes(SECRET_BYTES)
        draft = self._ledger.begin()
        draft.put(
            WEBHOOKS,
            webhook.id,
            StoredWebhook(webhook=webhook, secret=self._sealed.encrypt(secret, secret_context(webhook.id))),
        )
        what = {"origin": url.origin, "events": list(webhook.events)}
        draft.audit(subject, AuditAction.CREATED, webhook_resource(webhook.id), "a webhook was added", what)
        await self._commit(draft, webhook.id)
        return IssuedWebhook(webhook=webhook, secret=SECRET_PREFIX + base64.b64encode(secret).decode())

    async def remove(self, subject: str, webhook_id: str) -> None:
        """With all that it was still to be told, and its dead letters."""
        self._require(subject)
        webhook = self._webhook(webhook_id)
        draft = self._ledger.begin()
        draft.delete(WEBHOOKS, webhook.id)
        for notice in self._outbox.pending(webhook.id):
            draft.delete(OUTBOX, notice.id)
        for dead in self._outbox.dead_letters(webhook.id):
            draft.delete(DEAD_LETTERS, dead.dead_letter.id)
        draft.audit(subject, AuditAction.DELETED, webhook_resource(webhook.id), "the webhook was removed")
        await self._commit(draft, webhook.id)

    def dead_letters(self, subject: str, webhook_id: str) -> tuple[DeadLetter, ...]:
        """Oldest event first."""
        self._require(subject)
        return tuple(each.dead_letter for each in self._outbox.dead_letters(self._webhook(webhook_id).id))

    async def redeliver(self, subject: str, letter_id: str) -> None:
        """Tried anew from the first, before what waits behind it."""
        self._require(subject)
        dead = self._ledger.get(DEAD_LETTERS, letter_id)
        if dead is None:
            raise NotFoundError(
                f"There is no dead letter {escape_text(letter_id, 80)}.", "See `sealyard webhook dead`."
            )
        letter = dead.dead_letter
        draft = self._ledger.begin()
        draft.delete(DEAD_LETTERS, letter.id)
        draft.put(OUTBOX, letter.id, OutboxMessage(id=letter.id, webhook_id=letter.webhook_id, change=dead.change))
        message = f"{letter.event} of task {letter.task_id} was taken up again"
        draft.audit(subject, AuditAction.RENEWED, webhook_resource(letter.webhook_id), message)
        await self._commit(draft, letter.webhook_id)

    async def _commit(self, draft: UnitOfWork, webhook_id: str) -> None:
        draft.notify(webhook_resource(webhook_id))
        await draft.commit()
        self._outbox.notify()

    def _require(self, subject: str) -> None:
        self._rights.require_type(subject, Action.UPDATE, ResourceType.POLICY)

    def _webhook(self, webhook_id: str) -> Webhook:
        hook = self._ledger.get(WEBHOOKS, webhook_id)
        if hook is None:
            raise NotFoundError(f"There is no webhook {escape_text(webhook_id, 80)}.", "See `sealyard webhook list`.")
        return hook.webhook

    def _with_counts(self, webhook: Webhook) -> Webhook:
        waiting, dead = self._outbox.counts(webhook.id)
        return msgspec.structs.replace(webhook, pending_count=waiting, dead_letters=dead)
