"""Interface of the job bus, which sends jobs from the engine to the workers and reports back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from sealyard.model.worker_messages import (
    Heartbeat,
    Job,
    JobFailed,
    JobFinished,
    JobStopped,
    KeyCommand,
    KeyResponse,
    SegmentEncrypted,
    SigningPermissionRequested,
    WorkerLost,
)

Report = Heartbeat | SegmentEncrypted | SigningPermissionRequested | JobFinished | JobFailed | JobStopped | WorkerLost
"""A message about a running job. All except the last are sent by the worker; the bus itself reports a lost worker."""

LARGE_JOB_BYTES = 64 * 1024 * 1024
"""A job of at least this size in bytes has a worker to itself."""


class JobBus(Protocol):
    """Sends jobs to workers and receives their reports. Reports of the same worker arrive in the order it sent them.

    A job is reserved, then prepared, then either run or released. After :meth:`run`, it ends with exactly one
    :class:`JobFinished`, :class:`JobFailed`, :class:`JobStopped` or :class:`WorkerLost`.
    """

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the running workers on this machine."""
        ...

    def reserve(self, task_id: str, size: int, *, spare: bool = False) -> bool:
        """Reserve a worker slot for a job of ``size`` bytes. Returns False if no slot is free.

        Set ``spare`` for a small job while a large job is waiting: the small job then only gets a slot that large jobs
        cannot use, so that another slot can drain for the large job.
        """
        ...

    async def prepare(self, task_id: str) -> str:
        """Make sure that a worker is running in the reserved slot, and return its name.

        Raises the :class:`SealyardError` that prevented it from starting.
        """
        ...

    def release(self, task_id: str) -> None:
        """Release a reserved slot without running the job."""
        ...

    async def run(self, job: Job) -> None: ...

    async def permit_signing(self, task_id: str, fencing_token: int) -> None:
        """Permit the worker to sign for the task. ``fencing_token`` must be that of the running job."""
        ...

    async def stop(self, task_id: str) -> None:
        """Ask the worker to stop the task. A worker that does not stop within the grace period is killed."""
        ...

    async def request(self, command: KeyCommand) -> KeyResponse:
        """Send ``command`` to any worker and return its response. Does not wait for jobs of the worker.

        Raises the error that the worker responds with, or :class:`WorkerError` if it does not respond.
        """
        ...

    def reports(self) -> AsyncIterator[Report]: ...

    async def close(self) -> None: ...
