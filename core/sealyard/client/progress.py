"""Rate-limited progress reports."""

from __future__ import annotations

import time

from sealyard.client.protocol import ProgressCallback

MIN_INTERVAL = 0.1
"""Seconds between two reports."""


class ThrottledProgress:
    """Reports the bytes done at most ten times a second, and once all are done."""

    def __init__(self, progress: ProgressCallback | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0
        self._reported_at = 0.0

    def add(self, count: int) -> None:
        """Report ``count`` more bytes."""
        self.update(self._done + count)

    def update(self, done: int) -> None:
        """Report that ``done`` bytes are done in all."""
        self._done = done
        now = time.monotonic()
        if self._progress is not None and (done >= self._total or now - self._reported_at >= MIN_INTERVAL):
            self._reported_at = now
            self._progress(done, self._total)
