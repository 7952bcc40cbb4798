"""How long commits took, counted in the buckets of a histogram."""

from __future__ import annotations

from bisect import bisect_left
from threading import Lock

from sealyard.model.health import COMMIT_BUCKETS, CommitTimes


class CommitTimer:
    """Counts commits by their duration. Can be used by several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts = [0] * (len(COMMIT_BUCKETS) + 1)
        self._seconds = 0.0

    def record(self, seconds: float) -> None:
        with self._lock:
            self._counts[bisect_left(COMMIT_BUCKETS, seconds)] += 1
            self._seconds += seconds

    @property
    def times(self) -> CommitTimes:
        with self._lock:
            return CommitTimes(counts=tuple(self._counts), seconds=self._seconds)
