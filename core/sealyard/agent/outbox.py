"""Reports of the agent to the engine, and the progress of its jobs, on their way to the bus database."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from sealyard.concurrency.backoff import RetryDelays
from sealyard.jobs.zone import statements
from sealyard.jobs.zone.codec import encode_message
from sealyard.jobs.zone.connection import BusConnection
from sealyard.jobs.zone.queue import report_channel_of
from sealyard.model.errors import StorageError
from sealyard.model.worker_messages import Heartbeat
from sealyard.model.zone_messages import AgentReport

PROGRESS_INTERVAL = 0.5
"""Seconds between two updates of the progress of a job."""

MAX_BATCH = 100

_RETRY_DELAYS = RetryDelays.exponential(0.1, 1.0)

log = logging.getLogger(__name__)


class Outbox:
    """Inserts reports in the order in which they were sent, and the newest progress of each job.

    A report is inserted again if the connection was lost before the database confirmed it: the engine can receive it
    twice. Progress that cannot be stored is dropped.
    """

    def __init__(self, connection: BusConnection, workspace_id: str) -> None:
        self._connection = connection
        self._workspace_id = workspace_id
        self._reports: list[dict[str, Any]] = []
        self._progress: dict[tuple[str, int], Heartbeat] = {}
        self._is_pending = asyncio.Event()
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    def send(self, host: str, report: AgentReport) -> None:
        """Send a report soon. ``host``: the name under which the agent is registered."""
        self._reports.append({"workspace": self._workspace_id, "host": host, "body": encode_message(report)})
        self._is_empty.clear()
        self._is_pending.set()

    def report_progress(self, heartbeat: Heartbeat) -> None:
        self._progress[heartbeat.task_id, heartbeat.fencing_token] = heartbeat

    def drop_progress(self, task_id: str, fencing_token: int) -> None:
        """Drop progress that is not stored yet: the engine deletes the stored progress when the job ends."""
        self._progress.pop((task_id, fencing_token), None)

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
            rows = [
                {
                    "workspace": self._workspace_id,
                    "task": heartbeat.task_id,
                    "fencing_token": heartbeat.fencing_token,
                    "done": heartbeat.done,
                    "total": heartbeat.total,
                }
                for heartbeat in heartbeats
            ]
            try:
                await self._connection.execute_many(statements.SAVE_PROGRESS, rows)
            except StorageError as error:
                log.debug("could not store the progress: %s", error.message)

    async def _insert_batch(self) -> None:
        reports = self._reports
        batch = reports[:MAX_BATCH]
        if batch:
            await self._connection.execute_many(statements.INSERT_REPORT, batch)
            del reports[: len(batch)]
        if not self._reports:
            self._is_pending.clear()
            self._is_empty.set()
        if batch:
            channel = report_channel_of(self._workspace_id)
            await self._connection.execute(statements.NOTIFY, {"channel": channel})
