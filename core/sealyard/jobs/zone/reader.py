"""Reads the bus database for the engine: reports, hosts and progress, while the engine runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from sealyard.concurrency.backoff import RetryDelays
from sealyard.jobs.zone import statements
from sealyard.jobs.zone.connection import BusConnection, Rows
from sealyard.model.errors import StorageError

POLL_SECONDS = 0.5
"""Interval at which reports are read even without a notification."""

PROGRESS_SECONDS = 0.3
"""Interval at which the progress of running jobs is read."""

HOST_SECONDS = 1.0
"""Interval at which the heartbeats of the hosts are read."""

MAX_REPORTS = 500

OLD_REPORT_SECONDS = 60.0
"""Age of a claim that an agent may already have released, because no engine has started the job."""

_RETRY_DELAYS = RetryDelays.exponential(0.1, 1.0)

log = logging.getLogger(__name__)


class BusObserver(Protocol):
    """Receives what was read. ``has_running_jobs``: whether progress is of interest."""

    @property
    def has_running_jobs(self) -> bool: ...

    def on_reports(self, rows: Rows) -> None: ...

    def on_hosts(self, rows: Rows, report_lag: float) -> None: ...

    def on_first_read(self, instructed: Rows, old_reports: Rows) -> None:
        """Receive what an earlier engine has left, before all other calls.

        ``instructed``: tasks and hosts for which it has sent instructions. ``old_reports``: numbers of the reports that
        are older than :data:`OLD_REPORT_SECONDS`.
        """
        ...

    def on_progress(self, rows: Rows) -> None: ...

    def on_read(self, readable_seconds: float) -> None:
        """Called after all of it was read. ``readable_seconds``: for how long the database has been readable."""
        ...

    def on_unreadable(self) -> None: ...


class BusReader:
    """Reads until cancelled.

    ``received_reports``: numbers of the reports that were received and not deleted yet; the observer adds those that it
    receives. ``notified``: set when there are reports.
    """

    def __init__(
        self,
        connection: BusConnection,
        workspace_id: str,
        observer: BusObserver,
        received_reports: set[int],
        notified: asyncio.Event,
    ) -> None:
        self._connection = connection
        self._parameters = {"workspace": workspace_id}
        self._observer = observer
        self._received_reports = received_reports
        self._notified = notified
        self._readable_since: float | None = None
        self._hosts_read_at = float("-inf")
        self._is_first_read = True

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            self._notified.clear()
            try:
                await self._read(loop.time)
            except StorageError as error:
                failures += 1
                if failures == 1:
                    log.warning("cannot read the bus database, retrying: %s", error.message)
                self._readable_since = None
                self._observer.on_unreadable()
                await asyncio.sleep(_RETRY_DELAYS.delay_after(failures))
                continue
            if failures:
                log.info("the bus database can be read again")
            failures = 0
            with suppress(TimeoutError):
                interval = PROGRESS_SECONDS if self._observer.has_running_jobs else POLL_SECONDS
                await asyncio.wait_for(self._notified.wait(), interval)

    async def _read(self, time: Callable[[], float]) -> None:
        started_at = time()
        if self._is_first_read:
            instructed = await self._connection.execute(statements.READ_INSTRUCTED_TASKS, self._parameters)
            age = {**self._parameters, "seconds": OLD_REPORT_SECONDS}
            old_reports = await self._connection.execute(statements.READ_OLD_REPORTS, age)
            self._observer.on_first_read(instructed, old_reports)
            self._is_first_read = False
        await self._read_reports()
        if self._observer.has_running_jobs:
            self._observer.on_progress(await self._connection.execute(statements.READ_PROGRESS, self._parameters))
        if started_at - self._hosts_read_at < HOST_SECONDS and self._readable_since is not None:
            return
        hosts = await self._connection.execute(statements.READ_HOSTS, self._parameters)
        [(lag,)] = await self._connection.execute(statements.READ_REPORT_LAG, self._parameters)
        self._hosts_read_at = started_at
        self._observer.on_hosts(hosts, lag)
        if self._readable_since is None:
            self._readable_since = started_at
        self._observer.on_read(time() - self._readable_since)

    async def _read_reports(self) -> None:
        while True:
            received = {"received": sorted(self._received_reports), "limit": MAX_REPORTS}
            rows = await self._connection.execute(statements.READ_REPORTS, {**self._parameters, **received})
            self._observer.on_reports(rows)
            if len(rows) < MAX_REPORTS:
                return
