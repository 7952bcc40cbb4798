"""Run the application and time its key presses; started by `tests.benchmarks.application` on a pseudo-terminal.

Argument: the JSON file for the results, one number of milliseconds for each key that moved a cursor.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from textual import events
from textual.drivers.linux_driver import LinuxDriver

from sealyard.cli.main import main
from sealyard_tui.widgets.virtual_table import VirtualTable


class KeyTimer:
    """Measures from a key press to the first write to the terminal after the key moved the cursor.

    Writes before the move (progress, ages) are not counted.
    """

    def __init__(self) -> None:
        self.milliseconds: list[float] = []
        self._pressed: deque[float] = deque()
        self._moved: list[float] = []

    def record_key(self) -> None:
        """Record a key press; called on the thread that reads the keys."""
        self._pressed.append(time.perf_counter())

    def record_move(self) -> None:
        if self._pressed:
            self._moved.append(self._pressed.popleft())

    def record_write(self) -> None:
        now = time.perf_counter()
        self.milliseconds += [1000 * (now - pressed) for pressed in self._moved]
        self._moved.clear()


def instrument(timer: KeyTimer) -> None:
    write, process, watch = LinuxDriver.write, LinuxDriver.process_message, VirtualTable.watch_cursor

    def timed_write(self: LinuxDriver, data: str) -> None:
        write(self, data)
        timer.record_write()

    def timed_process(self: LinuxDriver, message: Any) -> None:
        if isinstance(message, events.Key):
            timer.record_key()
        process(self, message)

    def timed_watch(self: VirtualTable[Any], old_value: int, new_value: int) -> None:
        watch(self, old_value, new_value)
        timer.record_move()

    LinuxDriver.write = timed_write  # type: ignore[method-assign]
    LinuxDriver.process_message = timed_process  # type: ignore[method-assign]
    VirtualTable.watch_cursor = timed_watch  # type: ignore[method-assign]


if __name__ == "__main__":
    timer = KeyTimer()
    instrument(timer)
    exit_code = main([])
    Path(sys.argv[1]).write_text(json.dumps(timer.milliseconds))
    sys.exit(exit_code)
