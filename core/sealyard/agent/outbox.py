"""Reports of the agent to the engine, and the progress of its jobs, on their way to the bus database."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from sealyard.agent.bus_connection import BusConnection
from sealyard.concurrency.backoff import RetryDelays
from sealyard.model.errors import StorageError
from sealyard.model.worker_messages import Heartbeat
from sealyard.model.zone_messages import AgentReport

PROGRESS_INTERVAL = 0.5
"""Seconds between two updates of the progress of a job."""

MAX_BATCH = 100

_RETRY_DELAYS = RetryDelays.exponential(0.1, 1.0)
_INSERT_REPORT = "INSERT INTO bus.report (workspace, host, body) VALUES (%s, %s, %s)"
_NOTIFY = "SELECT pg_notify(%s, '')"
_SAVE_PROGRESS = """
INSERT INTO bus.progress (workspace, task, fencing_token, done, total) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (workspace, task, fencing_token)
DO UPDATE SET done = excluded.done, total = excluded.total, at = clock_timestamp()
"""

log = logging.getLogger(__name__)


class Outbox:
    """Inserts reports in the order in which they were sent, and the newest progress of each job.

    A report is inserted again if the connection was lost before the database confirmed it: the engine can receive it
    twice. Progress that cannot be stored is dropped.
    """

    def __init__(self, connection: BusConnection, workspace_id: str) -> None:
        self._connection = connection
        self._workspace_id = workspace_id
        self._reports: list[tuple[str, str, bytes]] = []
        self._progress: dict[tuple[str, int], Heartbeat] = {}
        self._is_pending = asyncio.Event()
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def send(self, host: str, report: AgentReport) -> None:
        """Send a report soon. ``host``: the name under which the agent is registered."""
        self._reports.append((self._workspace_id, host, msgspec.json.encode(report)))
        self._is_empty.clear()
        self._is_pending.set()

    def report_progress(self, heartbeat: Heartbeat) -> None:
        self._progress[heartbeat.task_id, heartbeat.fencing_token] = heartbeat

    def clear(self) -> None:
        """Drop all reports: the agent was disconnected for so long that the engine has given up its jobs."""
        self._reports = []
        self._progress.clear()
        self._is_empty.set()

    async def wait_sent(self) -> None:
        """Wait until all reports are inserted."""
        await self._is_empty.wait()

    async def run_reports(self) -> None:
        """Insert reports, until cancelled."""
        failures = 0
        while True:
            await self._is_pending.wait()
            try:
                await self._insert_batch()
                failures = 0
            except StorageError as error:
                failures += 1
                log.warning("could not send reports: %s", error.message)
                await asyncio.sleep(_RETRY_DELAYS.delay_after(failures))

    async def run_progress(self) -> None:
        """Store the progress of all jobs regularly, until cancelled."""
        while True:
            await asyncio.sleep(PROGRESS_INTERVAL)
            heartbeats, self._progress = list(self._progress.values()), {}
            if not heartbeats:
                continue
            rows = [(self._workspace_id, beat.task_id, beat.fencing_token, beat.done, beat.total) for beat in heartbeats]
            try:
                await self._connection.execute_many(_SAVE_PROGRESS, rows)
            except StorageError as error:
                log.debug("could not store the progress: %s", error.message)

    async def _insert_batch(self) -> None:
        reports = self._reports
        batch = reports[:MAX_BATCH]
        if batch:
            await self._connection.execute_many(_INSERT_REPORT, batch)
            del reports[: len(batch)]
        if not self._reports:
            self._is_pending.clear()
            self._is_empty.set()
        if batch:
            # In a statement of its own: with NOTIFY, transactions are committed one after the other.
            await self._connection.execute(_NOTIFY, (f"reports_{self._workspace_id}",))
