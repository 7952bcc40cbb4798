"""The queue: small jobs and large ones in lanes of their own, first come first served in each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from sealyard.model.tasks import Task

Lane = dict[str, int]
"""Task id to bytes, in order of arrival."""


class ClaimWorker(Protocol):
    """:meth:`sealyard.jobs.bus.JobBus.claim`."""

    def __call__(self, task_id: str, size: int, *, spare: bool = False) -> bool: ...


class JobQueue:
    """What waits for a worker. ``is_large`` says which lane a number of bytes belongs to."""

    def __init__(self, is_large: Callable[[int], bool]) -> None:
        self._is_large = is_large
        self._lanes: dict[bool, Lane] = {False: {}, True: {}}
        self._positions: dict[str, tuple[int, int]] | None = None

    def __len__(self) -> int:
        return sum(len(lane) for lane in self._lanes.values())

    def add(self, task: Task) -> None:
        size = task.total_bytes
        self._lanes[self._is_large(size)].setdefault(task.id, size)
        self._positions = None

    def remove(self, task_id: str) -> None:
        for lane in self._lanes.values():
            lane.pop(task_id, None)
        self._positions = None

    def take(self, claim: ClaimWorker) -> str | None:
        """Takes the first task, small lane before large, that a place could be claimed for.

        While a large one waits, small ones keep out of its way: neither lane starves the other.
        """
        large_waits = bool(self._lanes[True])
        for is_large, lane in self._lanes.items():
            task_id = next(iter(lane), None)
            if task_id is not None and claim(task_id, lane[task_id], spare=large_waits and not is_large):
                del lane[task_id]
                self._positions = None
                return task_id
        return None

    def position(self, task_id: str) -> tuple[int, int] | None:
        """Place in the task's lane, from 1, and the bytes before it."""
        if self._positions is None:
            self._positions = _positions(self._lanes.values())
        return self._positions.get(task_id)


def _positions(lanes: Iterable[Lane]) -> dict[str, tuple[int, int]]:
    places = {}
    for lane in lanes:
        ahead = 0
        for number, (task_id, size) in enumerate(lane.items(), 1):
            places[task_id] = (number, ahead)
            ahead += size
    return places
