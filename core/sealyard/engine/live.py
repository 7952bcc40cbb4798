"""How running and queued tasks get on: bytes, rate, place and time left. In memory only."""

from __future__ import annotations

from sealyard.model.jobs import Beat
from sealyard.model.tasks import Live

FIRST_GUESS = 300 * 1024 * 1024.0
"""Bytes a second, until something was measured."""

WEIGHT = 0.2
"""Of the newest measurement in the running mean."""

MEASURED_OVER = 0.2
"""Seconds at least. Beats that were held up come together, and between them the rate would seem boundless."""


class _Run:
    def __init__(self, total: int, now: float) -> None:
        self.done = 0
        self.total = total
        self.measured_at = now
        self.measured_done = 0
        self.rate: float | None = None


class Pace:
    """Measures the rate of running tasks and foretells."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}
        self._rate = FIRST_GUESS

    def begin(self, task_id: str, total: int, now: float) -> None:
        self._runs[task_id] = _Run(total, now)

    def end(self, task_id: str) -> None:
        self._runs.pop(task_id, None)

    def beat(self, beat: Beat, now: float) -> Live | None:
        """Takes a beat in; what it says where it says something new. ``now`` in seconds of any steady clock."""
        run = self._runs.get(beat.task_id)
        if run is None or beat.done == run.done:
            return None
        run.done, run.total = beat.done, beat.total
        if now - run.measured_at >= MEASURED_OVER:
            self._measure(run, now)
        return self.of_running(beat.task_id)

    def _measure(self, run: _Run, now: float) -> None:
        measured = max(0, run.done - run.measured_done) / (now - run.measured_at)
        run.rate = measured if run.rate is None else (1 - WEIGHT) * run.rate + WEIGHT * measured
        self._rate = (1 - WEIGHT) * self._rate + WEIGHT * measured
        run.measured_at, run.measured_done = now, run.done

    def of_running(self, task_id: str) -> Live | None:
        run = self._runs.get(task_id)
        if run is None:
            return None
        left = (run.total - run.done) / (run.rate or self._rate)
        return Live(bytes_done=run.done, bytes_total=run.total, seconds_left=max(0.0, left))

    def of_queued(self, place: int, size: int, ahead: int) -> Live:
        """``ahead``: bytes of the queue before this task; each byte is passed over twice, sealed and checked."""
        running = sum(run.total - run.done for run in self._runs.values())
        left = (running + 2 * (ahead + size)) / self._rate
        return Live(bytes_total=2 * size, queue_place=place, seconds_left=left)
