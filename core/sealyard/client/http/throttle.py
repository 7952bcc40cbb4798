"""Rate-limited progress reports."""

from __future__ import annotations

import time

from sealyard.client.protocol import ProgressCallback

SECONDS = 0.1
"""Minimum interval between two reports."""


class ThrottledProgress:
    """Reports the bytes done at most ten times a second, and once all are done."""

    def __init__(self, progress: ProgressCallback | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._reported_at = 0.0

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if self._progress is not None and (done >= self._total or now - self._reported_at >= SECONDS):
            self._reported_at = now
            self._progress(done, self._total)
