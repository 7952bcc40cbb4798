"""Create the results of finished jobs: an artifact with a download link, or a signature."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from sealyard.concurrency.threads import CheckCancelled, run_cancellable
from sealyard.engine.state.links import DownloadLinks
from sealyard.engine.state.repository import Repository
from sealyard.model.errors import IntegrityError, StorageError
from sealyard.model.results import link_expiry
from sealyard.model.tasks import Result, ResultState, Task, TaskKind
from sealyard.model.triggers import Completed
from sealyard.model.worker_messages import JobFinished
from sealyard.storage.artifacts import OUTPUT_NAMES, ArtifactStore, ResultId


class ResultPublisher:
    """Stores the output of finished jobs as results, and creates the result of their tasks.

    ``uploaded``: whether workers are on other machines, which upload their output to the artifact store.
    """

    def __init__(
        self, repository: Repository, links: DownloadLinks, artifacts: ArtifactStore, *, uploaded: bool
    ) -> None:
        self._repository = repository
        self._links = links
        self._artifacts = artifacts
        self._uploaded = uploaded

    async def publish(self, task: Task, report: JobFinished) -> Completed:
        """Publish the output of a finished job, and return the trigger that completes its task.

        The artifact is published before the task becomes DONE. If the engine crashes in between, the next engine calls
        this method again for a repeated report, or :meth:`unpublish` before it runs the task again.
        """
        if task.kind is TaskKind.SIGNING:
            result = Result(state=ResultState.AVAILABLE, signature=report.signature, self_approved=task.self_approved)
            return Completed(fencing_token=task.fencing_token, result=result)
        store = self._confirm_artifact if self._uploaded else self._store_artifact
        await run_cancellable(partial(store, task, report))
        return Completed(fencing_token=task.fencing_token, result=self._build_result(task, report))

    def unpublish(self, task: Task) -> None:
        """Undo :meth:`publish`, if it was called: the work directory has the artifact, as the next attempt expects.

        Called when the engine starts, for tasks that were running when the previous engine stopped, and lost their job.
        """
        if task.kind in OUTPUT_NAMES:
            self._artifacts.unpublish_result(task.id, OUTPUT_NAMES[task.kind])

    def _store_artifact(self, task: Task, report: JobFinished, check_cancelled: CheckCancelled) -> None:
        """Store the worker's output file in the artifact store.

        Raises :class:`StorageError` if it is missing or has the wrong size.
        """
        output_file = self._artifacts.work_dir(task.id) / OUTPUT_NAMES[task.kind]
        if not output_file.is_file() or output_file.stat().st_size != report.size:
            raise StorageError(
                "The artifact is missing or does not have the size that the worker reported.", "Check the disk."
            )
        assert report.sha256 is not None
        self._artifacts.publish_result(ResultId.of(task), output_file, report.sha256, check_cancelled)

    def _confirm_artifact(self, task: Task, report: JobFinished, check_cancelled: CheckCancelled) -> None:
        """Check that the artifact store contains the output that the worker reported.

        Raises :class:`IntegrityError` if it does not.
        """
        assert self._artifacts.remote is not None
        if report.sha256 is None or report.size is None:
            raise IntegrityError(
                "The worker reported no result.", "Update the crypto host, and submit the request again."
            )
        self._artifacts.remote.confirm_result(ResultId.of(task), report.sha256, report.size, check_cancelled)

    def _build_result(self, task: Task, report: JobFinished) -> Result:
        now = self._repository.clock.now()
        device = self._repository.device(task.config_id, task.config_version)
        retained_until = now + timedelta(seconds=device.retention_seconds)
        expires_at = link_expiry(now, device.link_ttl_seconds, retained_until)
        return Result(
            state=ResultState.AVAILABLE,
            file_name=_build_file_name(task),
            link=self._links.sign(task.id, expires_at),
            expires_at=expires_at,
            retained_until=retained_until,
            sha256=report.sha256,
            size=report.size,
            self_approved=task.self_approved,
        )


def _build_file_name(task: Task) -> str:
    if task.kind is TaskKind.PACKAGING:
        return f"{task.config_name}-{task.id}.{task.format}"
    return f"{task.inputs[0].name}.encrypted"
