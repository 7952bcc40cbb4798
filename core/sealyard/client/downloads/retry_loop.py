"""Follows an engine's events for finished tasks: nothing missed, nothing twice, and never in a hot loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sealyard.client.downloads.events import DownloadCallback, DownloadsInterrupted
from sealyard.client.protocol import Client
from sealyard.model.clock import Clock
from sealyard.model.errors import SealyardError
from sealyard.model.events import EventsMissed, TaskChanged
from sealyard.model.tasks import Task

RECONNECT_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
RETRY_SECONDS = (5.0, 30.0, 120.0, 600.0)
"""Then a failing download rests until the next catching up."""

MAX_PARALLEL_DOWNLOADS = 2
"""Downloads that run side by side."""

Pending = Callable[[], Awaitable[tuple[Task, ...]]]

IsRelevant = Callable[[TaskChanged], bool]

Attempt = Callable[[str, float | None], Awaitable[bool]]
"""Tries one task; False: try again in the seconds given."""


async def follow_finished_tasks(
    client: Client, pending: Pending, concerns: IsRelevant, attempt: Attempt, on_event: DownloadCallback, clock: Clock
) -> None:
    """Attempts what is pending, then each task whose event ``concerns``; returns when the events end."""
    async with asyncio.TaskGroup() as group:
        attempts = _RetryingAttempts(group, attempt, clock)
        try:
            await _EventFollower(client, pending, concerns, attempts, on_event, clock).run()
        finally:
            attempts.stop()


class _RetryingAttempts:
    """One for each task at a time, few at once; those that fail are made again, ever later, then given up."""

    def __init__(self, group: asyncio.TaskGroup, attempt: Attempt, clock: Clock) -> None:
        self._group = group
        self._attempt = attempt
        self._clock = clock
        self._running: dict[str, asyncio.Task[None]] = {}
        self._changed: set[str] = set()
        self._slots = asyncio.Semaphore(MAX_PARALLEL_DOWNLOADS)

    def start(self, task_id: str) -> None:
        if task_id in self._running:
            self._changed.add(task_id)
            return
        running = self._group.create_task(self._until_settled(task_id))
        self._running[task_id] = running
        running.add_done_callback(lambda _: self._running.pop(task_id))

    def stop(self) -> None:
        for each in self._running.values():
            each.cancel()

    async def _until_settled(self, task_id: str) -> None:
        for pause in (*RETRY_SECONDS, None):
            settled = await self._once(task_id, pause)
            while task_id in self._changed:
                # It changed while it was attempted: a link may have been renewed.
                settled = await self._once(task_id, pause)
            if settled or pause is None:
                return
            await self._clock.sleep(pause)

    async def _once(self, task_id: str, pause: float | None) -> bool:
        self._changed.discard(task_id)
        async with self._slots:
            return await self._attempt(task_id, pause)


class _EventFollower:
    def __init__(
        self,
        client: Client,
        pending: Pending,
        concerns: IsRelevant,
        attempts: _RetryingAttempts,
        on_event: DownloadCallback,
        clock: Clock,
    ) -> None:
        self._client = client
        self._pending = pending
        self._concerns = concerns
        self._attempts = attempts
        self._on_event = on_event
        self._clock = clock
        self._cursor = 0
        self._failures = 0

    async def run(self) -> None:
        while True:
            try:
                return await self._listen()
            except SealyardError as error:
                pause = RECONNECT_SECONDS[min(self._failures, len(RECONNECT_SECONDS) - 1)]
                self._failures += 1
                self._on_event(DownloadsInterrupted(error=error.to_info(), retry_in=pause))
                await self._clock.sleep(pause)

    async def _listen(self) -> None:
        """From the last cursor on, so that what happens while catching up is heard afterwards."""
        await self._catch_up()
        async for event in self._client.events(self._cursor):
            self._failures = 0
            self._cursor = max(self._cursor, event.cursor)
            if isinstance(event, EventsMissed):
                await self._catch_up()
            elif isinstance(event, TaskChanged) and self._concerns(event):
                self._attempts.start(event.task_id)

    async def _catch_up(self) -> None:
        for task in await self._pending():
            self._attempts.start(task.id)
