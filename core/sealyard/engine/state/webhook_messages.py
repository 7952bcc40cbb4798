"""Create outbox messages for webhooks: one document per event and webhook, kept until it is delivered or given up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sealyard.engine.state.tables import OutboxMessage
from sealyard.model.events import DurableEvent, TaskChanged
from sealyard.model.webhooks import Webhook


def messages_for(events: Iterable[DurableEvent], webhooks: Iterable[Webhook]) -> Iterator[OutboxMessage]:
    """Yield a message for each webhook and each event that it subscribes to. The events already have their cursors."""
    for webhook in webhooks:
        for event in events:
            if (
                isinstance(event, TaskChanged)
                and event.notification
                and (not webhook.events or event.notification in webhook.events)
            ):
                yield OutboxMessage(id=_message_id(webhook.id, event.cursor), webhook_id=webhook.id, change=event)


def _message_id(webhook_id: str, cursor: int) -> str:
    """Return an id that sorts in the order of the events."""
    return f"{webhook_id}-{cursor:015d}"
