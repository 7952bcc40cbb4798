"""The slots of a worker pool: what each worker process runs, and which slot a job gets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sealyard.jobs.worker_process import WorkerProcess

MAX_SMALL_JOBS = 32
"""Maximum number of small jobs that one worker runs at a time."""

_RESERVATION_TOKEN = 0
"""Used instead of a fencing token for a job that has a slot but is not running yet."""


class WorkerSlot:
    """A slot for one worker process, with the jobs assigned to it.

    ``jobs``: fencing tokens by task id. ``has_large_job``: whether one of the jobs is large. ``silent_seconds``: how
    long the worker has sent no message, without the time during which this process was suspended.
    """

    def __init__(self) -> None:
        self.process: WorkerProcess | None = None
        self.jobs: dict[str, int] = {}
        self.has_large_job = False
        self.silent_seconds = 0.0
        self.request_ids: set[int] = set()
        self.start_lock = asyncio.Lock()

    def reserve(self, task_id: str, is_large: bool) -> None:
        self.jobs[task_id] = _RESERVATION_TOKEN
        self.has_large_job = is_large

    def remove_job(self, task_id: str) -> None:
        self.jobs.pop(task_id, None)
        self.has_large_job = self.has_large_job and bool(self.jobs)

    @property
    def running_jobs(self) -> dict[str, int]:
        return {task_id: token for task_id, token in self.jobs.items() if token != _RESERVATION_TOKEN}


def find_slot_for_small_job(slots: Sequence[WorkerSlot], large_job_waiting: bool) -> WorkerSlot | None:
    """Return the best slot for a small job, None if there is none; see :meth:`sealyard.jobs.bus.JobBus.reserve`."""
    usable = slots[:1] if large_job_waiting else slots
    candidates = [slot for slot in usable if not slot.has_large_job and len(slot.jobs) < MAX_SMALL_JOBS]
    return min(candidates, key=lambda slot: (slot.process is None and bool(slot.jobs), len(slot.jobs)), default=None)


def find_slot_for_large_job(slots: Sequence[WorkerSlot]) -> WorkerSlot | None:
    """Return an empty slot other than the first one, which is reserved for small jobs."""
    return next((slot for slot in slots[1:] if not slot.jobs), None)
