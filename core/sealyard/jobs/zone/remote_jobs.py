"""The jobs that an engine has given to a zone, and what became of those of an earlier engine."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from sealyard.model.errors import SealyardError


class Claim(NamedTuple):
    """A report that an agent has claimed a job. ``n``: the number of the report."""

    n: int
    host: str


class RemoteJob:
    """A job for which the zone has room. ``number``: its fencing token, 0 before it is queued."""

    def __init__(self, task_id: str, size: int) -> None:
        self.task_id = task_id
        self.size = size
        self.number = 0
        self.is_started = False
        self.claim: asyncio.Future[Claim] = asyncio.get_running_loop().create_future()
        self.stop_deadline: float | None = None
        """Time of the event loop until which the host has to stop the job."""
        self.is_unconfirmed = False
        """Whether the bus database could not be read when the job was reattached."""
        self.has_host_reconnected = False
        """Whether the host has sent a heartbeat since the bus database became readable."""

    @classmethod
    def attach(cls, task_id: str, size: int, number: int, claim: Claim, *, is_started: bool) -> RemoteJob:
        """Return a job that an earlier engine has queued."""
        job = cls(task_id, size)
        job.number = number
        job.claim.set_result(claim)
        job.is_started = is_started
        return job

    @property
    def host(self) -> str:
        """The name of the host that has claimed the job; empty if none has."""
        has_host = self.claim.done() and not self.claim.cancelled() and self.claim.exception() is None
        return self.claim.result().host if has_host else ""

    def fail(self, error: SealyardError) -> None:
        """Let the claim fail."""
        if not self.claim.done():
            self.claim.set_exception(error)
            self.claim.exception()  # consumed here, in case that nothing waits for it
