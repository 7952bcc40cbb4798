"""What comes of a finished job: the artifact in its place behind a link, or a signature."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from sealyard.engine.inputs.stream_writer import run_uncancellable
from sealyard.engine.state.links import DownloadLinks
from sealyard.engine.state.repository import Repository
from sealyard.model.errors import StorageError
from sealyard.model.results import link_expiry
from sealyard.model.tasks import Result, ResultState, Task, TaskKind
from sealyard.model.triggers import Completed
from sealyard.model.worker_messages import JobFinished
from sealyard.storage.artifacts import ArtifactStore

OUTPUT_NAMES = {TaskKind.PACKAGING: "container", TaskKind.ENCRYPTION: "encrypted"}
"""The name under which a worker leaves what it has made, in the task's work folder."""


class ResultPublisher:
    """Turns a worker's last report into a result."""

    def __init__(self, ledger: Repository, links: DownloadLinks, artifacts: ArtifactStore) -> None:
        self._ledger = ledger
        self._links = links
        self._artifacts = artifacts

    async def publish(self, task: Task, report: JobFinished) -> Completed:
        """The artifact is in its place before the task is DONE: a crash between leaves it to a rerun."""
        if task.kind is TaskKind.SIGNING:
            signed = Result(state=ResultState.AVAILABLE, signature=report.signature, self_approved=task.self_approved)
            return Completed(fencing_token=task.fencing_token, result=signed)
        await run_uncancellable(partial(self._publish, task, report))
        return Completed(fencing_token=task.fencing_token, result=self._result(task, report))

    def unpublish(self, task: Task) -> None:
        """At start: a result whose task is not DONE goes back to where a rerun looks for it."""
        if task.kind in OUTPUT_NAMES and self._artifacts.has_result(task.id):
            self._artifacts.unpublish_result(task.id, OUTPUT_NAMES[task.kind])

    def _publish(self, task: Task, report: JobFinished) -> None:
        made = self._artifacts.work_dir(task.id) / OUTPUT_NAMES[task.kind]
        if not made.is_file() or made.stat().st_size != report.size:
            raise StorageError("The finished artifact is not there as the worker says.", "Check the disk.")
        self._artifacts.publish_result(task.id, made)

    def _result(self, task: Task, report: JobFinished) -> Result:
        now = self._ledger.clock.now()
        device = self._ledger.device(task.config_id, task.config_version)
        kept_until = now + timedelta(seconds=device.retention_seconds)
        expires_at = link_expiry(now, device.link_ttl_seconds, kept_until)
        return Result(
            state=ResultState.AVAILABLE,
            file_name=_file_name(task),
            link=self._links.sign(task.id, expires_at),
            expires_at=expires_at,
            retained_until=kept_until,
            sha256=report.sha256,
            size=report.size,
            self_approved=task.self_approved,
        )


def _file_name(task: Task) -> str:
    if task.kind is TaskKind.PACKAGING:
        return f"{task.config_name}-{task.id}.{task.format}"
    return f"{task.inputs[0].name}.encrypted"
