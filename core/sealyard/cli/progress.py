"""Progress line on standard error, shown only if standard error is a terminal that can erase a line."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from typing import TextIO

from sealyard.model.formatting import format_count, format_duration, format_size
from sealyard.model.safe_text import escape_text


class ProgressLine:
    """A line of text that is overwritten by each update. Any thread can update it.

    ``replace_signs`` returns the text with signs that the terminal can display. Call :meth:`clear` before printing
    anything else.
    """

    def __init__(self, stream: TextIO, replace_signs: Callable[[str], str]) -> None:
        self.is_enabled = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._stream = stream
        self._replace_signs = replace_signs
        self._is_visible = False

    def for_file(self, label: str) -> Callable[[int, int], None] | None:
        """Return a callback that shows the progress of a file; None if progress is not shown.

        The callback takes the number of bytes processed so far and the total number of bytes.
        """
        if not self.is_enabled:
            return None
        start_time = time.monotonic()

        def show(done: int, total: int) -> None:
            seconds = time.monotonic() - start_time
            rate = done / seconds if seconds > 0 else 0.0
            self.show(label, done, total, rate, (total - done) / rate if rate else None)

        return show

    def for_entries(self, label: str) -> Callable[[int, int], None] | None:
        """Return a callback that shows the progress of a list of entries; None if progress is not shown.

        The callback takes the number of entries processed so far and the total number of entries.
        """
        if not self.is_enabled:
            return None
        return lambda done, total: self._write(f"{label}: {done:,} of {format_count(total, 'entry', 'entries')}")

    def counter(self, label: str, total: int) -> Callable[[int], None]:
        """Return a callback that shows the progress of an operation on ``total`` bytes.

        The callback takes the number of bytes processed since its last call.
        """
        show = self.for_file(label)
        done = 0

        def add_bytes(count: int) -> None:
            nonlocal done
            done += count
            if show is not None:
                show(done, total)

        return add_bytes

    def show(self, label: str, done: int, total: int, rate: float | None, seconds_left: float | None) -> None:
        """Show that ``done`` of ``total`` bytes have been processed.

        ``rate``, in bytes per second, and ``seconds_left`` are omitted if they are None.
        """
        if not self.is_enabled:
            return
        parts = [f"{escape_text(label, 40)}: {format_size(done)} of {format_size(total)}"]
        if rate:
            parts.append(f"{format_size(int(rate))}/s")
        if seconds_left is not None:
            parts.append(f"{format_duration(max(1, round(seconds_left)))} left")
        self._write(", ".join(parts))

    def _write(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r\x1b[K" + self._replace_signs(text[:width]))
        self._stream.flush()
        self._is_visible = True

    def clear(self) -> None:
        """Remove the line if it is visible."""
        if self._is_visible:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._is_visible = False
