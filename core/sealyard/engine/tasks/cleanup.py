"""Remove the files that a finished task no longer needs."""

from __future__ import annotations

import logging

from sealyard.engine.inputs.store import InputStore
from sealyard.model.errors import SealyardError
from sealyard.model.tasks import Task
from sealyard.storage.artifacts import ArtifactStore

log = logging.getLogger(__name__)


class TaskCleanup:
    """Listens for saved tasks: releases the inputs and deletes the work directory of each finished task."""

    def __init__(self, inputs: InputStore, artifacts: ArtifactStore) -> None:
        self._inputs = inputs
        self._artifacts = artifacts

    def on_task_saved(self, task: Task) -> None:
        if not task.status.is_final:
            return
        try:
            self._inputs.release(task)
            self._artifacts.delete_work(task.id)
        except SealyardError as error:
            log.warning("could not remove the files of task %s, retrying at the next start: %s", task.id, error)
