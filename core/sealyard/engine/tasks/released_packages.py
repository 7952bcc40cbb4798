"""The last released package of each configuration, whose metadata is kept to show approvers what has changed."""

from __future__ import annotations

import logging

from sealyard.engine.inputs.store import InputStore
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import DEVICES
from sealyard.model.errors import SealyardError
from sealyard.model.tasks import Task, TaskKind, TaskStatus

log = logging.getLogger(__name__)


def find_last_release(repository: Repository, config_id: str, *, before: Task | None = None) -> Task | None:
    """Return the newest released package of a configuration, or None if there is none.

    ``before``: a task to compare. It is not returned itself and, if it is final, neither is a package that was
    requested later.
    """
    released_packages = repository.tasks({"configId": config_id, "status": TaskStatus.DONE, "kind": TaskKind.PACKAGING})
    if before is None:
        return next(released_packages, None)
    return next(
        (
            package
            for package in released_packages
            if package.id != before.id and (not before.status.is_final or package.created_at <= before.created_at)
        ),
        None,
    )


class ReleasedMetadata:
    """Listens for saved tasks: keeps the metadata files of the last released package of each configuration."""

    def __init__(self, repository: Repository, inputs: InputStore) -> None:
        self._repository = repository
        self._inputs = inputs
        self._kept_digests: dict[str, frozenset[str]] = {}
        """The digests of the metadata files that are kept, by the id of the configuration."""

    def restore(self) -> None:
        """Keep the metadata of the last released packages, before files that belong to no task are removed."""
        for device in self._repository.list_all(DEVICES):
            self._update(device.id)

    def on_task_saved(self, task: Task) -> None:
        """Must be called before the listener that releases the inputs of a finished task."""
        if task.kind is not TaskKind.PACKAGING or task.status is not TaskStatus.DONE:
            return
        try:
            self._update(task.config_id)
        except SealyardError as error:
            log.warning("could not remove metadata of configuration %s: %s", task.config_id, error)

    def _update(self, config_id: str) -> None:
        package = find_last_release(self._repository, config_id)
        digests = frozenset(file.sha256 for file in package.metadata) if package is not None else frozenset()
        kept_digests = self._kept_digests.get(config_id, frozenset())
        self._kept_digests[config_id] = digests
        for digest in digests - kept_digests:
            self._inputs.pin(_pin_id(config_id), digest)
        for digest in kept_digests - digests:
            self._inputs.unpin(_pin_id(config_id), digest)


def _pin_id(config_id: str) -> str:
    return f"released {config_id}"
