"""Interface of the job bus, which carries jobs from the engine to the workers, and their reports back to the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from sealyard.model.key_holder_messages import EngineKeys, StoreGeneration
from sealyard.model.worker_messages import (
    BuildSecretCreated,
    Heartbeat,
    Job,
    JobFailed,
    JobFinished,
    JobStopped,
    KeyCommand,
    KeyResponse,
    RefusedMeasure,
    SegmentEncrypted,
    SigningPermissionRequested,
    WorkerLost,
)

Report = (
    Heartbeat
    | BuildSecretCreated
    | SegmentEncrypted
    | SigningPermissionRequested
    | JobFinished
    | JobFailed
    | JobStopped
    | WorkerLost
)
"""A message about a running job. All except the last are sent by the worker; the bus itself reports a lost worker."""

LARGE_JOB_BYTES = 64 * 1024 * 1024
"""Size in bytes from which a job is large: it gets a worker slot of its own."""


class JobBus(Protocol):
    """Sends jobs to workers and receives their reports. Reports of a worker arrive in the order in which it sent them.

    For each job, the engine calls :meth:`reserve`, :meth:`prepare`, and then either :meth:`run` or :meth:`release`.
    After :meth:`run`, the reports about the job end with exactly one :class:`JobFinished`, :class:`JobFailed`,
    :class:`JobStopped` or :class:`WorkerLost`.
    """

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the running workers on this machine."""
        ...

    @property
    def refused_measures(self) -> tuple[RefusedMeasure, ...]:
        """The measures of confinement that the kernel refused to the workers; empty before the first one starts."""
        ...

    def reserve(self, task_id: str, size: int, *, large_job_waiting: bool = False) -> bool:
        """Reserve a worker slot for a job of ``size`` bytes. Returns False if no slot is free.

        ``large_job_waiting``: whether a large job is waiting for a slot. If so, a small job may only take a slot that
        large jobs cannot use, which leaves the other slots to the large job.
        """
        ...

    async def prepare(self, task_id: str) -> str:
        """Make sure that a worker is running in the reserved slot, and return the name of the worker.

        Raises the :class:`SealyardError` that prevented the worker from starting.
        """
        ...

    def release(self, task_id: str) -> None:
        """Release a reserved slot without running the job."""
        ...

    async def run(self, job: Job) -> None: ...

    async def confirm_build_secret(self, task_id: str, fencing_token: int) -> None:
        """Confirm to the worker that the build secret of the task is recorded.

        ``fencing_token`` must be that of the running job.
        """
        ...

    async def permit_signing(self, task_id: str, fencing_token: int) -> None:
        """Permit the worker to sign for the task. ``fencing_token`` must be that of the running job."""
        ...

    async def stop(self, task_id: str) -> None:
        """Ask the worker to stop the task. A worker that does not stop within the grace period is killed."""
        ...

    async def get_engine_keys(self) -> EngineKeys:
        """Return the keys of the engine. Raises :class:`KeyStoreLockedError` if the key store cannot be opened."""
        ...

    async def update_store_generation(self, generation: StoreGeneration | None) -> StoreGeneration | None:
        """Record a generation of the store in the worker state, unless it is None, and return the recorded one.

        Raises :class:`WorkerStateError` if the generation does not follow the recorded one or the state is damaged, and
        :class:`KeyStoreLockedError` if the key store cannot be opened.
        """
        ...

    async def request(self, command: KeyCommand) -> KeyResponse:
        """Send ``command`` to any worker and return the response, without waiting for the jobs of that worker.

        Raises the error that the worker reports, or :class:`WorkerError` if the worker does not respond.
        """
        ...

    def reports(self) -> AsyncIterator[Report]: ...

    async def close(self) -> None: ...
