"""Progress of long work: one line on a terminal's standard error, nothing on a pipe."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import TextIO

from sealyard.model.formatting import format_duration, format_size
from sealyard.model.safe_text import escape_text


class ProgressLine:
    """May be told from any thread; whoever prints something else clears it first."""

    def __init__(self, stream: TextIO) -> None:
        self.live = stream.isatty()
        self._stream = stream
        self._shown = False

    def for_file(self, label: str) -> Callable[[int, int], None] | None:
        """To be called with bytes done and bytes in all; None where nobody looks."""
        if not self.live:
            return None
        started = time.monotonic()

        def show(done: int, total: int) -> None:
            seconds = time.monotonic() - started
            rate = done / seconds if seconds > 0 else 0.0
            self.show(label, done, total, rate, (total - done) / rate if rate else None)

        return show

    def for_entries(self, label: str) -> Callable[[int, int], None] | None:
        """To be called with entries done and entries in all; None where nobody looks."""
        if not self.live:
            return None
        return lambda done, total: self._write(f"{label}: {done:,} of {total:,} entries")

    def counter(self, label: str, total: int) -> Callable[[int], None]:
        """To be called with how many more bytes are done."""
        show = self.for_file(label)
        done = 0

        def add(count: int) -> None:
            nonlocal done
            done += count
            if show is not None:
                show(done, total)

        return add

    def show(self, label: str, done: int, total: int, rate: float | None, seconds_left: float | None) -> None:
        """``rate`` in bytes a second."""
        if not self.live:
            return
        parts = [f"{escape_text(label, 40)}: {format_size(done)} of {format_size(total)}"]
        if rate:
            parts.append(f"{format_size(int(rate))}/s")
        if seconds_left is not None:
            parts.append(f"{format_duration(max(1, round(seconds_left)))} left")
        self._write(", ".join(parts))

    def _write(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r\x1b[K" + text[:width])
        self._stream.flush()
        self._shown = True

    def clear(self) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._shown = False
