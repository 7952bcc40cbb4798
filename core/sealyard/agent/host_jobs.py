"""All jobs of a crypto host: claims, instructions and reports find their job here."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from sealyard.agent.job import Claim, JobServices, ZoneJob
from sealyard.jobs.bus import LARGE_JOB_BYTES
from sealyard.model.errors import SealyardError, UsageError, WorkerError
from sealyard.model.zone_messages import AbortJob, ForwardOrder, Instruction, IssueGrants, JobAbandoned, StartJob
from sealyard.storage.artifacts import check_task_id

SLOT_SECONDS = 20.0
"""Time that a job waits for a slot. Later, the engine would give up its claim."""

SLOT_INTERVAL = 0.1

log = logging.getLogger(__name__)


class HostJobs:
    """The jobs that this host has claimed. ``host``: the name of this agent, for jobs that are claimed later."""

    def __init__(self, services: JobServices, host: str) -> None:
        self.host = host
        self._services = services
        self._jobs: dict[str, ZoneJob] = {}
        self._waiting_large_jobs = 0

    @property
    def count(self) -> int:
        return len(self._jobs)

    async def run(self, claim: Claim) -> None:
        """Run a job from its claim to its end. If the caller is cancelled, the job continues.

        An older attempt of the same task is stopped first. A claim that is not newer is ignored, and so is a job for
        which the pool has no slot in time: the engine queues it again.
        """
        if not await self._replace_older(claim) or not await self._reserve(claim):
            return
        job = self._jobs[claim.task_id] = ZoneJob(self._services, self.host, claim)
        job.on_end(partial(self._remove, job))
        await job.wait()

    def dispatch(self, instruction: Instruction) -> bool:
        """Pass an instruction to its job. Returns False if it is not about a job."""
        message = instruction.message
        if not isinstance(message, StartJob | ForwardOrder | IssueGrants | AbortJob):
            return False
        job = self._jobs.get(message.task_id)
        if job is None or message.fencing_token not in (
            job.claim.number,
            *((0,) if isinstance(message, AbortJob) else ()),
        ):
            self._refuse(message)
        elif isinstance(message, AbortJob):
            job.stop()
        else:
            job.receive(message)
        return True

    def _refuse(self, message: StartJob | ForwardOrder | IssueGrants | AbortJob) -> None:
        """Ignore an instruction for a job that is not here. The engine must learn that a job will not start."""
        log.info("ignored an instruction for task %s, which has no such job here", message.task_id)
        if isinstance(message, StartJob):
            error = WorkerError("The crypto host no longer has the job.", "The job starts again.")
            report = JobAbandoned(
                task_id=message.task_id,
                fencing_token=message.fencing_token,
                error=error.to_info(),
                is_interrupted=True,
            )
            self._services.outbox.send(self.host, report)

    async def receive_reports(self) -> None:
        """Pass the reports of the workers to their jobs, until cancelled."""
        async for report in self._services.pool.reports():
            job = self._jobs.get(report.message.task_id)
            if job is not None and job.claim.number == report.message.fencing_token:
                job.receive_report(report)

    def forget_all(self) -> None:
        """Stop all jobs without a report: the engine has given them up, because the agent was disconnected."""
        for job in self._jobs.values():
            job.forget()
            job.stop()

    def abandon_all(self, error: SealyardError) -> None:
        """Stop all jobs, so that the engine starts them on another host."""
        for job in self._jobs.values():
            job.abandon(error, is_interrupted=True)
            job.stop()

    async def wait_idle(self) -> None:
        """Wait until the present jobs have ended."""
        await asyncio.gather(*(job.wait() for job in self._jobs.values()))

    async def _reserve(self, claim: Claim) -> bool:
        is_large = claim.size >= LARGE_JOB_BYTES
        deadline = asyncio.get_running_loop().time() + SLOT_SECONDS
        self._waiting_large_jobs += is_large
        try:
            while not self._services.pool.reserve(
                claim.task_id, claim.size, large_job_waiting=self._waiting_large_jobs > is_large
            ):
                if asyncio.get_running_loop().time() > deadline:
                    log.warning("no worker is free for task %s", claim.task_id)
                    return False
                await asyncio.sleep(SLOT_INTERVAL)
        finally:
            self._waiting_large_jobs -= is_large
        return True

    async def _replace_older(self, claim: Claim) -> bool:
        """Stop an older attempt of the task, and return whether the claim is newer than what this host runs."""
        try:
            check_task_id(claim.task_id)
        except UsageError as error:
            log.warning("ignored a job in the queue: %s", error.message)
            return False
        while (older := self._jobs.get(claim.task_id)) is not None:
            if older.claim.number >= claim.number:
                log.info("ignored a repeated claim of task %s", claim.task_id)
                return False
            older.forget()
            older.stop()
            await older.wait()
            self._remove(older)  # the callback of its end runs later
        return True

    def _remove(self, job: ZoneJob) -> None:
        if self._jobs.get(job.claim.task_id) is job:
            del self._jobs[job.claim.task_id]
