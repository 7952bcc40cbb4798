"""Progress, told at a bearable rate."""

from __future__ import annotations

import time

from sealyard.client.protocol import ProgressCallback

SECONDS = 0.1


class ThrottledProgress:
    """Tells of bytes done ten times a second at most, and when all are done."""

    def __init__(self, progress: ProgressCallback | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._told = 0.0

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if self._progress is not None and (done >= self._total or now - self._told >= SECONDS):
            self._told = now
            self._progress(done, self._total)
