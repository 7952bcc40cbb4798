"""Events on their way to listeners: ordered, with a cursor, bounded; who is too slow is told of a gap."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable

from sealyard.model.events import DurableEvent, Event, EventsMissed

HISTORY_SIZE = 10_000
"""Durable events kept for those who catch up."""

QUEUE_SIZE = 1_000
"""Events that may wait for one listener."""


class _Listener:
    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self.arrived = asyncio.Event()

    def put(self, event: Event) -> None:
        if len(self.events) >= QUEUE_SIZE:
            self.events.clear()
            self.events.append(EventsMissed(cursor=event.cursor))
        self.events.append(event)
        self.arrived.set()

    def take(self) -> tuple[Event, ...]:
        taken = tuple(self.events)
        self.events.clear()
        return taken


class EventBroadcaster:
    """Lives on the engine's loop."""

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
        self._recent.append(event)
        self.publish(event)

    def close(self) -> None:
        """Lets every listener come to its end."""
        self._closed = True
        for listener in self._listeners:
            listener.arrived.set()

    async def batches(self, after: int | None) -> AsyncIterator[tuple[Event, ...]]:
        """Events behind the cursor ``after`` (None: from now on), until the engine closes.

        Each batch is all that has come by then, so who listens from afar crosses over once for many events.
        """
        listener = _Listener()
        for event in self._events_since(after):
            listener.put(event)
        self._listeners.add(listener)
        try:
            while not self._closed:
                await listener.arrived.wait()
                listener.arrived.clear()
                if listener.events:
                    yield listener.take()
        finally:
            self._listeners.discard(listener)

    def _events_since(self, after: int | None) -> list[Event]:
        if after is None or after >= self.cursor:
            return []
        missed: list[Event] = [event for event in self._recent if event.cursor > after]
        if len(missed) > QUEUE_SIZE or not missed or missed[0].cursor > after + 1:
            return [EventsMissed(cursor=self.cursor)]
        return missed
