"""What each webhook is to be told of: one document for each event and webhook, until it is told or given up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sealyard.engine.state.tables import OutboxMessage
from sealyard.model.events import DurableEvent, TaskChanged
from sealyard.model.webhooks import Webhook


def messages_for(events: Iterable[DurableEvent], webhooks: Iterable[Webhook]) -> Iterator[OutboxMessage]:
    """For numbered events."""
    for webhook in webhooks:
        for event in events:
            if (
                isinstance(event, TaskChanged)
                and event.notification
                and (not webhook.events or event.notification in webhook.events)
            ):
                yield OutboxMessage(id=_id(webhook.id, event.cursor), webhook_id=webhook.id, change=event)


def _id(webhook_id: str, cursor: int) -> str:
    """Sorts as the events do."""
    return f"{webhook_id}-{cursor:015d}"
