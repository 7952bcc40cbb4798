"""Process each finished task once, driven by the engine's event stream, with reconnects and retry delays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sealyard.client.downloads.events import DownloadCallback, DownloadsInterrupted
from sealyard.client.protocol import Client
from sealyard.concurrency.backoff import Backoff, RetryDelays
from sealyard.model.clock import Clock
from sealyard.model.errors import SealyardError
from sealyard.model.events import EventsMissed, TaskChanged
from sealyard.model.tasks import Task

RECONNECT_DELAYS = RetryDelays((1.0, 2.0, 5.0, 10.0, 30.0, 60.0))
"""Delays (seconds) before consecutive attempts to reconnect to the event stream."""

RETRY_DELAYS = RetryDelays((5.0, 30.0, 120.0, 600.0))
"""Delays (seconds) before consecutive retries of a failed download.

If the last retry fails too, the download is attempted again after the next reconnect or gap in the event stream.
"""

MAX_PARALLEL_DOWNLOADS = 2
"""Maximum number of concurrent downloads."""

LoadTasks = Callable[[], Awaitable[tuple[Task, ...]]]

IsRelevant = Callable[[TaskChanged], bool]

Attempt = Callable[[str, float | None], Awaitable[bool]]
"""Attempts one task. Returns False if the task should be retried.

The arguments are the task's id and the number of seconds until that retry, or None if there will be no retry.
"""


async def follow_finished_tasks(
    client: Client,
    load_pending: LoadTasks,
    is_relevant: IsRelevant,
    attempt: Attempt,
    on_event: DownloadCallback,
    clock: Clock,
) -> None:
    """Attempt all pending tasks, then each task whose event is relevant according to ``is_relevant``.

    Returns when the engine ends the event stream.
    """
    async with asyncio.TaskGroup() as task_group:
        attempts = _RetryingAttempts(task_group, attempt, clock)
        try:
            await _EventFollower(client, load_pending, is_relevant, attempts, on_event, clock).run()
        finally:
            attempts.stop()


class _RetryingAttempts:
    """Attempts in progress, one per task. At most :data:`MAX_PARALLEL_DOWNLOADS` run at once.

    Failed attempts are retried a limited number of times, with increasing delays.
    """

    def __init__(self, task_group: asyncio.TaskGroup, attempt: Attempt, clock: Clock) -> None:
        self._task_group = task_group
        self._attempt = attempt
        self._clock = clock
        self._running_attempts: dict[str, asyncio.Task[None]] = {}
        self._changed_task_ids: set[str] = set()
        self._slots = asyncio.Semaphore(MAX_PARALLEL_DOWNLOADS)

    def start(self, task_id: str) -> None:
        if task_id in self._running_attempts:
            self._changed_task_ids.add(task_id)
            return
        attempt = self._task_group.create_task(self._attempt_until_settled(task_id))
        self._running_attempts[task_id] = attempt
        attempt.add_done_callback(lambda _: self._running_attempts.pop(task_id))

    def stop(self) -> None:
        for attempt in self._running_attempts.values():
            attempt.cancel()

    async def _attempt_until_settled(self, task_id: str) -> None:
        for retry_in in (*RETRY_DELAYS.seconds, None):
            is_settled = await self._attempt_once(task_id, retry_in)
            while task_id in self._changed_task_ids:
                # The task changed during the attempt, for example because its link was renewed.
                is_settled = await self._attempt_once(task_id, retry_in)
            if is_settled or retry_in is None:
                return
            await self._clock.sleep(retry_in)

    async def _attempt_once(self, task_id: str, retry_in: float | None) -> bool:
        self._changed_task_ids.discard(task_id)
        async with self._slots:
            return await self._attempt(task_id, retry_in)


class _EventFollower:
    """Reads the event stream, reconnects after errors, and starts an attempt for each relevant event."""

    def __init__(
        self,
        client: Client,
        load_pending: LoadTasks,
        is_relevant: IsRelevant,
        attempts: _RetryingAttempts,
        on_event: DownloadCallback,
        clock: Clock,
    ) -> None:
        self._client = client
        self._load_pending = load_pending
        self._is_relevant = is_relevant
        self._attempts = attempts
        self._on_event = on_event
        self._clock = clock
        self._cursor = 0
        self._backoff = Backoff(RECONNECT_DELAYS, clock)

    async def run(self) -> None:
        while True:
            try:
                return await self._listen()
            except SealyardError as error:
                delay = self._backoff.next_delay()
                self._on_event(DownloadsInterrupted(error=error.to_info(), retry_in=delay))
                await self._clock.sleep(delay)

    async def _listen(self) -> None:
        """Try to download the pending results, then read all events since the last cursor.

        These include the events that were published during the downloads.
        """
        await self._catch_up()
        async for event in self._client.events(self._cursor):
            self._backoff.reset()
            self._cursor = max(self._cursor, event.cursor)
            if isinstance(event, EventsMissed):
                await self._catch_up()
            elif isinstance(event, TaskChanged) and self._is_relevant(event):
                self._attempts.start(event.task_id)

    async def _catch_up(self) -> None:
        for task in await self._load_pending():
            self._attempts.start(task.id)
