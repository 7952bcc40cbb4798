"""Commit changes of running tasks, also while the disk is full."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sealyard.engine.state.repository import Repository
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.model.access import SYSTEM_SUBJECT
from sealyard.model.audit import AuditAction
from sealyard.model.errors import IntegrityError, StorageError
from sealyard.model.triggers import CancellationConfirmed, Failed, Trigger

RETRY_SECONDS = 1.0

log = logging.getLogger(__name__)


async def advance_when_possible(repository: Repository, task_id: str, trigger: Trigger) -> None:
    """Apply a trigger to the task, retrying on :class:`StorageError`."""
    await commit_when_possible(repository, lambda: prepare_transition(repository, task_id, trigger))


async def commit_when_possible(repository: Repository, prepare: Callable[[], UnitOfWork | None]) -> None:
    """Commit the unit of work that ``prepare`` returns, retrying on :class:`StorageError`.

    ``prepare`` is called again for each retry, and returns None if there is nothing to commit any more. The task's time
    limit bounds the retries.
    """
    while (unit_of_work := prepare()) is not None:
        try:
            await unit_of_work.commit()
        except StorageError as error:
            log.warning("could not save a task, retrying: %s", error)
            await repository.clock.sleep(RETRY_SECONDS)
        else:
            return


def prepare_transition(repository: Repository, task_id: str, trigger: Trigger) -> UnitOfWork:
    """Return a unit of work that applies a trigger to the task, with audit entries."""
    unit_of_work = repository.begin()
    if isinstance(trigger, CancellationConfirmed):
        canceller = trigger.by
        unit_of_work.audit(canceller, AuditAction.CANCELLED, f"TASK:{task_id}", f"cancelled by {canceller}")
    if isinstance(trigger, Failed) and trigger.code == IntegrityError.code:
        resource = f"TASK:{task_id}"
        unit_of_work.audit(SYSTEM_SUBJECT, AuditAction.CORRUPTED, resource, trigger.reason, None, trigger.code)
    unit_of_work.advance(task_id, trigger)
    return unit_of_work
