"""Time the application's keys and its writes to the terminal: run by `tests.benchmarks.application` on a terminal.

Argument: the file the milliseconds go to, one for each key that moved a cursor, as JSON.
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


class Timing:
    """From the arrival of a key to the first write after the cursor it moved.

    Other paintings (progress, ages) come in between; only those after the move count.
    """

    def __init__(self) -> None:
        self.milliseconds: list[float] = []
        self._pressed: deque[float] = deque()
        self._moved: list[float] = []

    def pressed(self) -> None:
        """On the thread that reads the keys."""
        self._pressed.append(time.perf_counter())

    def moved(self) -> None:
        if self._pressed:
            self._moved.append(self._pressed.popleft())

    def written(self) -> None:
        now = time.perf_counter()
        self.milliseconds += [1000 * (now - pressed) for pressed in self._moved]
        self._moved.clear()


def instrument(timing: Timing) -> None:
    write, process, watch = LinuxDriver.write, LinuxDriver.process_message, VirtualTable.watch_cursor

    def timed_write(self: LinuxDriver, data: str) -> None:
        write(self, data)
        timing.written()

    def timed_process(self: LinuxDriver, message: Any) -> None:
        if isinstance(message, events.Key):
            timing.pressed()
        process(self, message)

    def timed_watch(self: VirtualTable[Any], old_value: int, new_value: int) -> None:
        watch(self, old_value, new_value)
        timing.moved()

    LinuxDriver.write = timed_write  # type: ignore[method-assign]
    LinuxDriver.process_message = timed_process  # type: ignore[method-assign]
    VirtualTable.watch_cursor = timed_watch  # type: ignore[method-assign]


if __name__ == "__main__":
    keys = Timing()
    instrument(keys)
    code = main([])
    Path(sys.argv[1]).write_text(json.dumps(keys.milliseconds))
    sys.exit(code)
