"""Rate-limited progress reports."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Self

from sealyard.client.protocol import ProgressCallback

MIN_INTERVAL = 0.1
"""Minimum number of seconds between two reports, except for the last one."""


class ThrottledProgress:
    """Calls a progress callback at most ten times a second, and always when all bytes are done."""

    def __init__(self, progress: ProgressCallback | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._bytes_done = 0
        self._last_report_time = 0.0

    @classmethod
    def of_file(cls, progress: ProgressCallback, path: Path) -> Self:
        """Return the progress of reading the file. Its total is 0 if the size of the file is unknown."""
        try:
            return cls(progress, path.stat().st_size)
        except (OSError, ValueError):  # reported when the file is read
            return cls(progress, 0)

    def add(self, count: int) -> None:
        """Report that ``count`` more bytes are done."""
        self.update(self._bytes_done + count)

    def update(self, bytes_done: int) -> None:
        """Report that ``bytes_done`` bytes are done in total."""
        self._bytes_done = bytes_done
        now = time.monotonic()
        if self._progress is not None and (bytes_done >= self._total or now - self._last_report_time >= MIN_INTERVAL):
            self._last_report_time = now
            self._progress(bytes_done, self._total)
