"""Deliver events to listeners, in order and with cursors.

Each listener has a bounded queue. If a listener is too slow, one :class:`EventsMissed` replaces the events in its
queue.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable

from sealyard.model.events import DurableEvent, Event, EventsMissed

HISTORY_SIZE = 10_000
"""Number of durable events kept for listeners that resume from an earlier cursor."""

QUEUE_SIZE = 1_000
"""Maximum number of events queued for one listener."""


class _Listener:
    """The bounded event queue of one listener."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self.has_events = asyncio.Event()

    def put(self, event: Event) -> None:
        """Queue an event. If the queue is full, replace its content with :class:`EventsMissed`."""
        if len(self.events) >= QUEUE_SIZE:
            self.events.clear()
            self.events.append(EventsMissed(cursor=event.cursor))
        self.events.append(event)
        self.has_events.set()

    def take(self) -> tuple[Event, ...]:
        """Return all queued events and clear the queue."""
        events = tuple(self.events)
        self.events.clear()
        return events


class EventBroadcaster:
    """Distributes events to all listeners. Must be used on the engine's event loop only."""

    def __init__(self, recent: Iterable[DurableEvent]) -> None:
        self._recent: deque[DurableEvent] = deque(recent, HISTORY_SIZE)
        self._listeners: set[_Listener] = set()
        self._closed = False
        self.cursor = self._recent[-1].cursor if self._recent else 0

    def publish(self, event: Event) -> None:
        self.cursor = max(self.cursor, event.cursor)
        for listener in self._listeners:
            listener.put(event)

    def publish_durable(self, event: DurableEvent) -> None:
        """Publish an event and keep it for listeners that resume from an earlier cursor."""
        self._recent.append(event)
        self.publish(event)

    def close(self) -> None:
        """End the iterators of all listeners."""
        self._closed = True
        for listener in self._listeners:
            listener.has_events.set()

    async def batches(self, after: int | None) -> AsyncIterator[tuple[Event, ...]]:
        """Yield the events after the cursor ``after`` (None: from now on), until the engine closes.

        Each batch holds all events queued by then, so that a listener on another event loop switches loops once for
        many events.
        """
        listener = _Listener()
        for event in self._events_since(after):
            listener.put(event)
        self._listeners.add(listener)
        try:
            while not self._closed:
                await listener.has_events.wait()
                listener.has_events.clear()
                if listener.events:
                    yield listener.take()
        finally:
            self._listeners.discard(listener)

    def _events_since(self, after: int | None) -> list[Event]:
        """Return the events to catch up on, or one :class:`EventsMissed` if they are too many or no longer kept."""
        if after is None or after >= self.cursor:
            return []
        missed: list[Event] = [event for event in self._recent if event.cursor > after]
        if len(missed) > QUEUE_SIZE or not missed or missed[0].cursor > after + 1:
            return [EventsMissed(cursor=self.cursor)]
        return missed
