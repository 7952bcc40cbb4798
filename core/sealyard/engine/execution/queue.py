"""The job queue, with one lane for small and one for large jobs; each lane is first come, first served."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from sealyard.model.tasks import Task

Lane = dict[str, int]
"""The jobs in a lane: sizes in bytes by task id, in order of arrival."""


class ReserveWorkerSlot(Protocol):
    """The signature of :meth:`sealyard.jobs.bus.JobBus.reserve`."""

    def __call__(self, task_id: str, size: int, *, large_job_waiting: bool = False) -> bool: ...


class JobQueue:
    """The tasks that are waiting for a worker.

    ``is_large`` returns whether a job of the given size in bytes belongs in the lane of large jobs.
    """

    def __init__(self, is_large: Callable[[int], bool]) -> None:
        self._is_large = is_large
        self._lanes: dict[bool, Lane] = {False: {}, True: {}}
        self._positions: dict[str, tuple[int, int]] | None = None

    def __len__(self) -> int:
        return sum(len(lane) for lane in self._lanes.values())

    @property
    def task_ids(self) -> list[str]:
        """The ids of all queued tasks, small jobs first."""
        return [task_id for lane in self._lanes.values() for task_id in lane]

    def add(self, task: Task) -> None:
        """Append a task to the lane for its size, unless the task is already queued."""
        size = task.total_bytes
        self._lanes[self._is_large(size)].setdefault(task.id, size)
        self._positions = None

    def remove(self, task_id: str) -> None:
        for lane in self._lanes.values():
            lane.pop(task_id, None)
        self._positions = None

    def take(self, reserve: ReserveWorkerSlot) -> str | None:
        """Remove and return the first task for which ``reserve`` gets a worker slot, or None. Small jobs come first.

        While a large job is waiting, small jobs do not take the slots that large jobs can use, so that neither lane
        starves the other.
        """
        large_job_waits = bool(self._lanes[True])
        for is_large, lane in self._lanes.items():
            task_id = next(iter(lane), None)
            if task_id is not None and reserve(
                task_id, lane[task_id], large_job_waiting=large_job_waits and not is_large
            ):
                del lane[task_id]
                self._positions = None
                return task_id
        return None

    def position(self, task_id: str) -> tuple[int, int] | None:
        """Return the task's position in its lane, starting at 1, and the number of bytes queued before it.

        Returns None if the task is not queued.
        """
        if self._positions is None:
            self._positions = _compute_positions(self._lanes.values())
        return self._positions.get(task_id)


def _compute_positions(lanes: Iterable[Lane]) -> dict[str, tuple[int, int]]:
    positions = {}
    for lane in lanes:
        bytes_ahead = 0
        for number, (task_id, size) in enumerate(lane.items(), 1):
            positions[task_id] = (number, bytes_ahead)
            bytes_ahead += size
    return positions
