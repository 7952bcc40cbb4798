"""The build of a job's result: where its random bytes come from, and what earlier attempts have recorded about it.

Every attempt gets the same random bytes, so it writes the same result, on any host and without the files of earlier
attempts.
"""

from __future__ import annotations

import msgspec

from sealyard.crypto.build_secret import BuildSecret
from sealyard.crypto.protocols import RandomSource
from sealyard.model.canonical_json import canonical_json
from sealyard.model.errors import IntegrityError, WorkerError
from sealyard.model.worker_messages import JobCheckpoint, RecordedSegment
from sealyard.worker.job_context import JobContext


class Build:
    """The build secret of a task, and the records that were made with it.

    ``segments``: the recorded segments by index. ``header``: the recorded header (Base64). It has no MAC, because it is
    only compared with the header of this attempt.

    Raises :class:`IntegrityError` if a segment of ``checkpoint`` was not recorded by a worker with this secret.
    """

    def __init__(self, task_id: str, secret: BuildSecret, checkpoint: JobCheckpoint) -> None:
        self._task_id = task_id
        self._secret = secret
        for segment in checkpoint.segments:
            self._verify(segment)
        self.segments = {segment.index: segment for segment in checkpoint.segments}
        self.header = checkpoint.header

    @property
    def random(self) -> RandomSource:
        return self._secret.random

    def authenticate(self, segment: RecordedSegment) -> RecordedSegment:
        """Return the record with its MAC."""
        return msgspec.structs.replace(segment, mac=self._secret.authenticate(self._encode(segment)))

    def _verify(self, segment: RecordedSegment) -> None:
        if not self._secret.is_authentic(self._encode(segment), segment.mac):
            raise IntegrityError(
                "The record of an encrypted segment was changed in the store. Nothing was signed.",
                "Check which programs can write to the workspace, then submit the request again.",
            )

    def _encode(self, segment: RecordedSegment) -> bytes:
        value = [segment.length, segment.sha256, segment.plaintext_sha256]
        return canonical_json([self._task_id, "segment", str(segment.index), value])


async def open_build(context: JobContext, format_name: str, revision: int) -> Build:
    """Return the build that earlier attempts have started, or start it, once its secret is recorded durably.

    Raises :class:`WorkerError` if the build cannot be continued, because its secret is missing although the task was
    permitted to sign, or because another revision of the format has started it, and :class:`IntegrityError` if a record
    was changed.
    """
    checkpoint = context.job.checkpoint
    record = checkpoint.build_secret
    if record is None:
        return await _start_build(context, format_name, revision)
    if (record.format, record.revision) != (format_name, revision):
        raise WorkerError(
            "The task was started by another version of Sealyard, which writes other bytes.",
            "Submit the request again as a new task.",
        )
    return Build(context.task.id, context.build_secrets.unwrap(record, context.task), checkpoint)


async def _start_build(context: JobContext, format_name: str, revision: int) -> Build:
    """Start a build from scratch. What an earlier version has recorded, without a build secret, is not used."""
    if context.task.intent is not None or context.job.checkpoint.header is not None:
        raise WorkerError(
            "The task cannot be continued: an earlier version of Sealyard has started to sign it, or its build secret"
            " was lost.",
            "Submit the request again as a new task.",
        )
    secret = BuildSecret.generate(format_name)
    record = context.build_secrets.wrap(secret, context.task, format_name, revision)
    await context.record_build_secret(record)
    return Build(context.task.id, secret, JobCheckpoint(task_id=context.task.id, build_secret=record))
