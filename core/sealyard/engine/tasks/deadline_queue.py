"""A queue of tasks by their next deadline."""

from __future__ import annotations

import asyncio
import heapq
from datetime import datetime

from sealyard.model.clock import Clock
from sealyard.model.deadlines import next_deadline
from sealyard.model.tasks import Task


class DeadlineQueue:
    """Returns tasks when their deadlines pass.

    A task whose deadline was postponed or removed may be returned even if no deadline of it has passed, so callers must
    check. No task is returned late.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[datetime, str]] = []
        self._wake_event = asyncio.Event()
        """Set when a deadline is added that is earlier than all others, and by :meth:`wake`."""

    def on_task_saved(self, task: Task) -> None:
        """Add the next deadline of a saved task."""
        self.schedule(task)

    def schedule(self, task: Task) -> None:
        """Add the task's next deadline, if it has one."""
        deadline = next_deadline(task)
        if deadline is not None:
            self.add(deadline, task.id)

    def add(self, deadline: datetime, task_id: str) -> None:
        heapq.heappush(self._heap, (deadline, task_id))
        if self._heap[0] == (deadline, task_id):
            self._wake_event.set()

    def pop_due(self) -> list[str]:
        """Remove and return the ids of all tasks with a deadline that has passed."""
        now = self._clock.now()
        due_ids: dict[str, None] = {}
        while self._heap and self._heap[0][0] <= now:
            due_ids[heapq.heappop(self._heap)[1]] = None
        return list(due_ids)

    async def wait(self) -> None:
        """Wait for the next deadline or :meth:`wake`, at most an hour."""
        self._wake_event.clear()
        seconds = self._seconds_until_next()
        if seconds == 0:
            return
        waiters = {
            asyncio.ensure_future(self._clock.sleep(seconds)),
            asyncio.ensure_future(self._wake_event.wait()),
        }
        try:
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()

    def wake(self) -> None:
        """Let :meth:`wait` return, even if no deadline has passed."""
        self._wake_event.set()

    def _seconds_until_next(self) -> float:
        if not self._heap:
            return 3600.0
        return min(3600.0, max(0.0, (self._heap[0][0] - self._clock.now()).total_seconds()))
