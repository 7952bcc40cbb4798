"""Collect what an approver must see before a decision."""

from __future__ import annotations

from functools import partial

from sealyard.concurrency.threads import run_uncancellable
from sealyard.engine.state.repository import Repository
from sealyard.engine.tasks.contents import ReviewedContents, TaskContents
from sealyard.engine.tasks.decide import changed_files_error
from sealyard.engine.tasks.query import TaskQueries
from sealyard.engine.tasks.released_packages import find_last_release
from sealyard.model.errors import NotFoundError
from sealyard.model.package_checks import duplicate_warnings
from sealyard.model.requests import ApprovalReview
from sealyard.model.tasks import Task, TaskKind


class TaskReviews:
    """Returns the reviews of tasks."""

    def __init__(self, repository: Repository, queries: TaskQueries, contents: TaskContents) -> None:
        self._repository = repository
        self._queries = queries
        self._contents = contents

    async def review(self, subject: str, task_id: str) -> ApprovalReview:
        """Return everything that an approver must see before deciding on the task."""
        task = self._queries.get(subject, task_id)
        previous = find_last_release(self._repository, task.config_id, before=task) if _is_package(task) else None
        try:
            contents = await self._read_contents(task, previous)
        except NotFoundError:
            # The task may have ended meanwhile, which removes its files.
            task = self._queries.get(subject, task.id)
            if not task.status.is_final:
                raise
            contents = await self._read_contents(task, previous)
        newest_config = self._repository.device(task.config_id)
        blocked_reason = self._queries.blocked_reason(subject, task)
        if not blocked_reason and contents.changed_names:
            blocked_reason = str(changed_files_error(contents.changed_names))
        warnings = (*contents.warnings, *duplicate_warnings((*task.inputs, *task.metadata)))
        return ApprovalReview(
            task=task,
            configuration=self._repository.device(task.config_id, task.config_version),
            blocked_reason=blocked_reason,
            metadata=contents.previews,
            previous=previous,
            newer_version=newest_config.version if newest_config.version > task.config_version else None,
            metadata_changes=contents.changes,
            warnings=tuple(warning for warning in warnings if warning not in task.warnings),
        )

    async def _read_contents(self, task: Task, previous: Task | None) -> ReviewedContents:
        """Read and parse the metadata in a thread, because it is untrusted and parsing it takes time."""
        return await run_uncancellable(partial(self._contents.read, task, previous))


def _is_package(task: Task) -> bool:
    return task.kind is TaskKind.PACKAGING
