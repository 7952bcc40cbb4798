"""All jobs of a crypto host: claims, instructions and reports find their job here."""

from __future__ import annotations

import asyncio
import logging

from sealyard.agent.job import Claim, JobServices, ZoneJob
from sealyard.model.errors import SealyardError, UsageError
from sealyard.model.zone_messages import AbortJob, ForwardOrder, Instruction, IssueGrants, StartJob
from sealyard.storage.artifacts import check_task_id

log = logging.getLogger(__name__)


class HostJobs:
    """The jobs that this host has claimed. ``host``: the name of this agent, for jobs that are claimed later."""

    def __init__(self, services: JobServices, host: str) -> None:
        self.host = host
        self._services = services
        self._jobs: dict[str, ZoneJob] = {}

    @property
    def count(self) -> int:
        return len(self._jobs)

    async def run(self, claim: Claim) -> bool:
        """Run a job from its claim to its end. Returns False at once if the pool has no free slot for it.

        An older attempt of the same task is stopped first. A claim that is not newer is ignored.
        """
        if not await self._replace_older(claim):
            return True
        if not self._services.pool.reserve(claim.task_id, claim.size):
            return False
        job = self._jobs[claim.task_id] = ZoneJob(self._services, self.host, claim)
        try:
            await job.wait()
        finally:
            # If the caller is cancelled, the job continues; its own end then removes it.
            job.when_done(lambda: self._remove(job))
        return True

    def dispatch(self, instruction: Instruction) -> bool:
        """Pass an instruction to its job. Returns False if it is not about a job."""
        message = instruction.message
        if not isinstance(message, StartJob | ForwardOrder | IssueGrants | AbortJob):
            return False
        job = self._jobs.get(message.task_id)
        if job is None or message.fencing_token not in (job.claim.number, *((0,) if isinstance(message, AbortJob) else ())):
            log.info("ignored an instruction for task %s, which has no such job here", message.task_id)
        elif isinstance(message, AbortJob):
            job.stop()
        else:
            job.receive(message)
        return True

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
            job.abandon(error)
            job.stop()

    async def wait_idle(self) -> None:
        """Wait until the present jobs have ended."""
        await asyncio.gather(*(job.wait() for job in self._jobs.values()))

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
            self._remove(older)
        return True

    def _remove(self, job: ZoneJob) -> None:
        if self._jobs.get(job.claim.task_id) is job:
            del self._jobs[job.claim.task_id]
