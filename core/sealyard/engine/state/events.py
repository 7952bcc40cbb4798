"""Deliver events to listeners in order. A cursor numbers the events, so that a listener can resume after one.

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
        """Queue an event. If the queue is full, first replace the queued events with one :class:`EventsMissed`."""
        if len(self.events) >= QUEUE_SIZE:
            self.events.clear()
            self.events.append(EventsMissed(cursor=event.cursor))
        self.events.append(event)
        self.has_events.set()

    def take(self) -> tuple[Event, ...]:
        """Return all queued events, and empty the queue."""
        events = tuple(self.events)
        self.events.clear()
        return events


class EventBroadcaster:
    """Distributes events to all listeners. Must be used on the engine's event loop only."""

    def __init__(self, recent_events: Iterable[DurableEvent]) -> None:
        self._recent_events: deque[DurableEvent] = deque(recent_events, HISTORY_SIZE)
        self._listeners: set[_Listener] = set()
        self._closed = False
        self.cursor = self._recent_events[-1].cursor if self._recent_events else 0

    def publish(self, event: Event) -> None:
        self.cursor = max(self.cursor, event.cursor)
        for listener in self._listeners:
            listener.put(event)

    def publish_durable(self, event: DurableEvent) -> None:
        """Publish an event and keep it for listeners that resume from an earlier cursor."""
        self._recent_events.append(event)
        self.publish(event)

    def close(self) -> None:
        """End the iterators of all listeners."""
        self._closed = True
        for listener in self._listeners:
            listener.has_events.set()

    async def batches(self, after_cursor: int | None) -> AsyncIterator[tuple[Event, ...]]:
        """Yield batches of the events that follow ``after_cursor`` (None: from now on), until the engine closes.

        Each batch contains all events that are queued when it is yielded, so that a listener on another event loop
        switches loops once for many events.
        """
        listener = _Listener()
        for event in self._events_since(after_cursor):
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

    def _events_since(self, after_cursor: int | None) -> list[Event]:
        """Return the past events that follow ``after_cursor``.

        Returns one :class:`EventsMissed` instead if there are too many of them or some are no longer kept.
        """
        if after_cursor is None or after_cursor >= self.cursor:
            return []
        missed_events: list[Event] = [event for event in self._recent_events if event.cursor > after_cursor]
        if len(missed_events) > QUEUE_SIZE or not missed_events or missed_events[0].cursor > after_cursor + 1:
            return [EventsMissed(cursor=self.cursor)]
        return missed_events
