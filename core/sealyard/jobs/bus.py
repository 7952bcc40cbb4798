"""The seam between engine and workers: who carries a job there and a report back."""

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

LARGE_JOB_BYTES = 64 * 1024 * 1024
"""From this many bytes on, a job has a worker to itself."""


class JobBus(Protocol):
    """Carries jobs to workers. Reports come in the order each worker made them.

    A job is claimed, then prepared, then run or released. One that was run ends in exactly one of Finished,
    Broken, Stopped or WorkerLost.
    """

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers that live on this machine."""
        ...

    def reserve(self, task_id: str, size: int, *, spare: bool = False) -> bool:
        """Takes a place for a job of ``size`` bytes, if there is one.

        ``spare``: a large job waits, so a small one takes no place that could be emptied for it.
        """
        ...

    async def prepare(self, task_id: str) -> str:
        """Has a worker ready in the claimed place and says its name. Raises what kept it from starting."""
        ...

    def release(self, task_id: str) -> None:
        """Gives back a place that nothing was run in."""
        ...

    async def run(self, job: Job) -> None: ...

    async def permit_signing(self, task_id: str, fence: int) -> None: ...

    async def stop(self, task_id: str) -> None:
        """Asks the worker to leave the task; one that does not within the grace period is killed."""
        ...

    async def request(self, question: KeyCommand) -> KeyResponse:
        """A question to any worker, answered aside from jobs. Raises the error that the worker answers with."""
        ...

    def reports(self) -> AsyncIterator[Report]: ...

    async def close(self) -> None: ...
