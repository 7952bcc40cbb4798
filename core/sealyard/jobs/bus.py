"""Interface of the job bus, which carries jobs from the engine to the workers, and their reports back to the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from enum import Enum, auto
from typing import Protocol

from sealyard.model.grants import InputGrant, ResultGrant
from sealyard.model.key_commands import KeyCommand
from sealyard.model.key_holder_messages import EngineKeys, StoreGeneration
from sealyard.model.tasks import Task
from sealyard.model.worker_messages import (
    BuildSecretCreated,
    Heartbeat,
    Job,
    JobFailed,
    JobFinished,
    JobStopped,
    KeyResponse,
    RefusedMeasure,
    SegmentEncrypted,
    SigningPermissionRequested,
    WorkerLost,
)
from sealyard.model.zone_messages import GrantsRequested
from sealyard.model.zone_status import ZoneStatus

Report = (
    Heartbeat
    | BuildSecretCreated
    | SegmentEncrypted
    | SigningPermissionRequested
    | JobFinished
    | JobFailed
    | JobStopped
    | WorkerLost
    | GrantsRequested
)
"""A message about a running job. A worker sends it, with two exceptions: the bus itself reports a lost worker, and the
agent of a crypto host requests grants."""

LARGE_JOB_BYTES = 64 * 1024 * 1024
"""Size in bytes from which a job is large: it gets a worker slot of its own."""


class Reattachment(Enum):
    """What became of the job of a task that was running when the previous engine stopped.

    ``LOST``: no worker has it any more, or will have it. ``CLAIMED``: an agent has claimed it and waits for the job.
    ``RUNNING``: it is running, and its reports continue.
    """

    LOST = auto()
    CLAIMED = auto()
    RUNNING = auto()


class JobBus(Protocol):
    """Sends jobs to workers and receives their reports. Reports of a worker arrive in the order in which it sent them.

    For each job, the engine calls :meth:`reserve`, :meth:`prepare`, and then either :meth:`run` or :meth:`release`.
    After :meth:`run`, the reports about the job end with exactly one :class:`JobFinished`, :class:`JobFailed`,
    :class:`JobStopped` or :class:`WorkerLost`. On a bus that outlives the engine, each report is repeated to the next
    engine until it was acknowledged, so handling it twice must have the same result as handling it once.
    """

    @property
    def is_remote(self) -> bool:
        """Whether the workers are on other machines: they read and write artifacts with grants, not in the folder."""
        ...

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

    def on_capacity_changed(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when slots become free for another reason than the end of a job."""
        ...

    async def prepare(self, task_id: str, fencing_token: int) -> str:
        """Make sure that a worker is running in the reserved slot, and return the name of the worker.

        ``fencing_token``: the one that the next lease of the task will have. The caller calls :meth:`release` if the
        call fails. If the bus is remote, it can take long, and can be cancelled. Raises the :class:`SealyardError` that
        prevented the worker from starting.
        """
        ...

    def release(self, task_id: str) -> None:
        """Release a reserved slot without running the job."""
        ...

    async def run(self, job: Job, inputs: tuple[InputGrant, ...] = ()) -> None:
        """Run the job in the reserved slot. ``inputs``: grants for all inputs, if the bus is remote."""
        ...

    async def reattach(self, task: Task) -> Reattachment:
        """Find the job of a task that was running when the previous engine stopped, and reserve its slot again.

        If the job was only claimed, the engine calls :meth:`run`. Called before :meth:`reports`.
        """
        ...

    async def issue_grants(
        self, task_id: str, fencing_token: int, inputs: tuple[InputGrant, ...], result: ResultGrant | None
    ) -> None:
        """Answer :class:`GrantsRequested`."""
        ...

    async def confirm_build_secret(self, task_id: str, fencing_token: int) -> None:
        """Confirm to the worker that the build secret of the task is recorded.

        ``fencing_token`` must be that of the running job.
        """
        ...

    async def permit_signing(self, task_id: str, fencing_token: int, sha256: str) -> None:
        """Permit the worker to sign the bytes with this SHA-256 (hex) for the task.

        ``fencing_token`` must be that of the running job.
        """
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

    def acknowledge(self, report: Report) -> None:
        """Confirm that the report was handled durably, or that no attempt needs it. It is not repeated then."""
        ...

    async def zone_status(self) -> ZoneStatus | None:
        """Return the state of the crypto zone, None if the workers are on this machine."""
        ...

    async def drain_host(self, name: str) -> None:
        """Ask a host of the crypto zone, by its name in :class:`ZoneStatus`, to finish its jobs and exit.

        Must not be called if the workers are on this machine.
        """
        ...

    async def close(self) -> None: ...
