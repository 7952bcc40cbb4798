"""Copy inputs from an object store for a worker, and wait while the store or the crypto zone cannot be used."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from sealyard.concurrency.backoff import RetryDelays
from sealyard.concurrency.threads import CheckCancelled, run_cancellable
from sealyard.model.clock import Clock
from sealyard.model.errors import ArtifactStoreError, ZoneUnavailableError
from sealyard.model.tasks import Task
from sealyard.storage.artifacts import RemoteArtifacts

UNAVAILABLE_DELAYS = RetryDelays.exponential(1.0, 10.0)
"""Seconds between two tries to use an object store, or the bus of a crypto zone."""

T = TypeVar("T")

log = logging.getLogger(__name__)


class _StoppedError(Exception):
    """The task is to be stopped while its inputs are copied."""


async def stage_inputs(task: Task, artifacts: RemoteArtifacts, clock: Clock, is_stopping: Callable[[], bool]) -> None:
    """Copy the inputs of ``task`` to the folder of workers.

    Returns early if ``is_stopping`` returns that the task is to be stopped.
    """

    def stage(check_cancelled: CheckCancelled) -> None:
        def check(count: int) -> None:
            check_cancelled(count)
            if is_stopping():
                raise _StoppedError

        with contextlib.suppress(_StoppedError):
            artifacts.stage_inputs(task.id, (*task.inputs, *task.metadata), check)

    await retry_while_unavailable(partial(run_cancellable, stage), task.id, clock, is_stopping)


async def retry_while_unavailable(
    step: Callable[[], Awaitable[T]], task_id: str, clock: Clock, is_stopping: Callable[[], bool]
) -> T | None:
    """Return the result of ``step``, which is repeated while an object store or the crypto zone cannot be used.

    Returns None once the task is to be stopped; its time limit bounds the retries.
    """
    count = 0
    while True:
        try:
            return await step()
        except (ArtifactStoreError, ZoneUnavailableError) as error:
            if is_stopping():
                return None
            if not count:
                log.warning("task %s waits: %s", task_id, error)
            count += 1
            await clock.sleep(UNAVAILABLE_DELAYS.delay_after(count))
