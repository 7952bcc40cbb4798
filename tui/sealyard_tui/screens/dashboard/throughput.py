"""The recent throughput of the crypto workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime

from sealyard.model.events import TaskProgressed

BUCKET_SECONDS = 3
BUCKETS = 60
"""Number of buckets; three minutes in total."""


class Throughput:
    """Throughput per time bucket, computed from progress events."""

    def __init__(self, now: datetime) -> None:
        self._started_at = now
        self._bucket = 0
        self._last_bytes: dict[str, int] = {}
        self._bytes: deque[int] = deque([0] * BUCKETS, BUCKETS)

    def add(self, progress: Iterable[TaskProgressed], now: datetime) -> None:
        self.tick(now)
        for event in progress:
            last_bytes = self._last_bytes.get(event.task_id)
            if last_bytes is not None and event.bytes_done > last_bytes:
                self._bytes[-1] += event.bytes_done - last_bytes
            self._last_bytes[event.task_id] = event.bytes_done

    def remove(self, task_id: str) -> None:
        self._last_bytes.pop(task_id, None)

    def tick(self, now: datetime) -> None:
        """Start a new bucket for each period of :data:`BUCKET_SECONDS` that has begun since the last call."""
        bucket = int((now - self._started_at).total_seconds() // BUCKET_SECONDS)
        self._bytes.extend([0] * min(BUCKETS, max(0, bucket - self._bucket)))
        self._bucket = max(self._bucket, bucket)

    @property
    def rates(self) -> list[float]:
        """Throughput of each bucket in MiB per second, oldest first. The last bucket is not complete yet."""
        return [each / (BUCKET_SECONDS * 1024 * 1024) for each in self._bytes]

    @property
    def rate(self) -> float:
        """Throughput in MiB per second of the last complete bucket, or of the current one if that is higher."""
        return max(self.rates[-2:])
