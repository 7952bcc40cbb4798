"""Faults of the processes of one workspace: kills, and suspensions that end by themselves."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from contextlib import suppress
from random import Random

from tests.support.processes import descendants_of, find_key_holder, is_running, suspend

MAX_PAUSE = 1.5
"""Seconds of a suspension: less than after which a silent worker is replaced."""


class ProcessFaults:
    """Kills and suspends the process that owns a workspace, its key holder and its workers. Counts what it did."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.kills: Counter[str] = Counter()
        """Number of kills by kind of process."""

        self.pauses = 0

    def kill(self, kind: str, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.kills[kind] += 1

    def kill_random_worker(self, pids: set[int]) -> int | None:
        """Kill one of the workers and return its process ID; None if none of them runs."""
        running = sorted(pid for pid in pids if is_running(pid))
        if not running:
            return None
        pid = self._random.choice(running)
        self.kill("worker", pid)
        return pid

    def kill_key_holder(self, owner: int) -> bool:
        """Kill the key holder of the process ``owner``; return False if it has none at the moment."""
        key_holder = find_key_holder(owner)
        if key_holder is None:
            return False
        self.kill("key holder", key_holder)
        return True

    def pause_random_process(self, owner: int) -> None:
        """Suspend the process ``owner``, its key holder or one of its workers for a short time."""
        pid = self._random.choice([owner, *descendants_of(owner)])
        with suppress(ProcessLookupError):
            suspend(pid)
            time.sleep(self._random.uniform(0.1, MAX_PAUSE))
            os.kill(pid, signal.SIGCONT)
            self.pauses += 1

    def __str__(self) -> str:
        kills = ", ".join(f"{count} × {kind}" for kind, count in sorted(self.kills.items()))
        return f"killed: {kills}; {self.pauses} suspensions"
