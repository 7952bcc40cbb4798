"""Create the outbox messages that report task changes to webhooks: one message per event and webhook."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sealyard.engine.state.tables import OutboxMessage
from sealyard.model.events import DurableEvent, TaskChanged
from sealyard.model.webhooks import Webhook


def messages_for(events: Iterable[DurableEvent], webhooks: Iterable[Webhook]) -> Iterator[OutboxMessage]:
    """Yield a message for each webhook and each event that it subscribes to. The events must have cursors."""
    for webhook in webhooks:
        for event in events:
            if (
                isinstance(event, TaskChanged)
                and event.notification
                and (not webhook.events or event.notification in webhook.events)
            ):
                yield OutboxMessage(id=_build_message_id(webhook.id, event.cursor), webhook_id=webhook.id, change=event)


def _build_message_id(webhook_id: str, cursor: int) -> str:
    """Return a message id. The ids of a webhook's messages sort in the order of their events."""
    return f"{webhook_id}-{cursor:015d}"
