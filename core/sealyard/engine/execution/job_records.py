"""The records of a job: what a worker gets with it, and what is recorded when the worker reports progress.

A bus that outlives the engine repeats reports. Each record is made once: for a repeated report, there is nothing to
commit.
"""

from __future__ import annotations

import msgspec

from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import CHECKPOINTS, KEYS
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.model.tasks import Task
from sealyard.model.triggers import IntentRecorded, SegmentRecorded
from sealyard.model.worker_messages import (
    BuildSecretCreated,
    Job,
    JobCheckpoint,
    SegmentEncrypted,
    SigningPermissionRequested,
)


class JobRecords:
    """Reads and prepares the records of jobs."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def build_job(self, task: Task) -> Job:
        """Return the job of a leased task."""
        key = self._repository.get(KEYS, task.signing_key.uri) if task.signing_key is not None else None
        key_version = (
            key.version(task.signing_key.version) if key is not None and task.signing_key is not None else None
        )
        return Job(
            task=task,
            checkpoint=self._load_checkpoint(task.id),
            certificate=key_version.certificate if key_version is not None else None,
            signing_kind=key.kind if key is not None else None,
        )

    def prepare_secret(self, report: BuildSecretCreated) -> UnitOfWork | None:
        """Return a unit of work that records a build secret, and drops the progress that was recorded without it.

        Returns None if the secret is recorded.
        """
        if self._load_checkpoint(report.task_id).build_secret == report.secret:
            return None
        unit_of_work = self._repository.begin()
        checkpoint = JobCheckpoint(task_id=report.task_id, build_secret=report.secret)
        unit_of_work.put(CHECKPOINTS, report.task_id, checkpoint)
        return unit_of_work

    def prepare_segment(self, report: SegmentEncrypted) -> UnitOfWork | None:
        """Return a unit of work that records an encrypted segment; None if it is recorded."""
        checkpoint = self._load_checkpoint(report.task_id)
        if report.segment in checkpoint.segments:
            return None
        other_segments = tuple(segment for segment in checkpoint.segments if segment.index != report.segment.index)
        unit_of_work = self._repository.begin()
        unit_of_work.put(
            CHECKPOINTS,
            checkpoint.task_id,
            msgspec.structs.replace(checkpoint, segments=(*other_segments, report.segment)),
        )
        unit_of_work.advance(
            report.task_id, SegmentRecorded(fencing_token=report.fencing_token, index=report.segment.index)
        )
        return unit_of_work

    def prepare_intent(self, report: SigningPermissionRequested) -> UnitOfWork | None:
        """Return a unit of work that records the intent to sign, and audits it; None if this attempt has recorded it.

        Raises :class:`InvalidTransitionError` if there is an intent to sign other bytes.
        """
        intent = self._repository.task(report.task_id).intent
        if intent is not None and (intent.sha256, intent.fencing_token) == (report.sha256, report.fencing_token):
            return None
        unit_of_work = self._repository.begin()
        unit_of_work.record_key_use(
            report.task_id, IntentRecorded(fencing_token=report.fencing_token, sha256=report.sha256)
        )
        if report.header is not None:
            checkpoint = self._load_checkpoint(report.task_id)
            unit_of_work.put(CHECKPOINTS, report.task_id, msgspec.structs.replace(checkpoint, header=report.header))
        return unit_of_work

    def _load_checkpoint(self, task_id: str) -> JobCheckpoint:
        """Return the stored checkpoint of the task's job, or an empty one."""
        return self._repository.get(CHECKPOINTS, task_id) or JobCheckpoint(task_id=task_id)
