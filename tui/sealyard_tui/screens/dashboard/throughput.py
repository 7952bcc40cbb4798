"""How many bytes a second the crypto workers get through, lately."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime

from sealyard.model.events import TaskProgressed

BUCKET_SECONDS = 3
BUCKETS = 60
"""Three minutes in all."""


class Throughput:
    """Fed with progress; gives MiB a second for each bucket of time, the oldest first."""

    def __init__(self, now: datetime) -> None:
        self._begun = now
        self._bucket = 0
        self._seen: dict[str, int] = {}
        self._bytes: deque[int] = deque([0] * BUCKETS, BUCKETS)

    def add(self, progress: Iterable[TaskProgressed], now: datetime) -> None:
        self.tick(now)
        for each in progress:
            before = self._seen.get(each.task_id)
            if before is not None and each.bytes_done > before:
                self._bytes[-1] += each.bytes_done - before
            self._seen[each.task_id] = each.bytes_done

    def remove(self, task_id: str) -> None:
        self._seen.pop(task_id, None)

    def tick(self, now: datetime) -> None:
        """Begins the buckets that time has come for."""
        bucket = int((now - self._begun).total_seconds() // BUCKET_SECONDS)
        self._bytes.extend([0] * min(BUCKETS, max(0, bucket - self._bucket)))
        self._bucket = max(self._bucket, bucket)

    @property
    def rates(self) -> list[float]:
        """MiB a second; the last bucket is still being filled."""
        return [each / (BUCKET_SECONDS * 1024 * 1024) for each in self._bytes]

    @property
    def rate(self) -> float:
        """MiB a second, of the last whole bucket; of the one being filled where that is more already."""
        return max(self.rates[-2:])
