"""How running and queued tasks get on: bytes, rate, place and time left. In memory only."""

from __future__ import annotations

from sealyard.model.tasks import RunProgress
from sealyard.model.worker_messages import Heartbeat

INITIAL_RATE = 300 * 1024 * 1024.0
"""Bytes a second, until something was measured."""

SMOOTHING = 0.2
"""Of the newest measurement in the running mean."""

MIN_SAMPLE_SECONDS = 0.2
"""Seconds at least. Beats that were held up come together, and between them the rate would seem boundless."""


class _Measurement:
    def __init__(self, total: int, now: float) -> None:
        self.done = 0
        self.total = total
        self.measured_at = now
        self.measured_done = 0
        self.rate: float | None = None


class ProgressEstimator:
    """Measures the rate of running tasks and foretells."""

    def __init__(self) -> None:
        self._runs: dict[str, _Measurement] = {}
        self._rate = INITIAL_RATE

    def begin(self, task_id: str, total: int, now: float) -> None:
        self._runs[task_id] = _Measurement(total, now)

    def end(self, task_id: str) -> None:
        self._runs.pop(task_id, None)

    def record(self, beat: Heartbeat, now: float) -> RunProgress | None:
        """Takes a beat in; what it says where it says something new. ``now`` in seconds of any steady clock."""
        run = self._runs.get(beat.task_id)
        if run is None or beat.done == run.done:
            return None
        run.done, run.total = beat.done, beat.total
        if now - run.measured_at >= MIN_SAMPLE_SECONDS:
            self._measure(run, now)
        return self.running(beat.task_id)

    def _measure(self, run: _Measurement, now: float) -> None:
        measured = max(0, run.done - run.measured_done) / (now - run.measured_at)
        run.rate = measured if run.rate is None else (1 - SMOOTHING) * run.rate + SMOOTHING * measured
        self._rate = (1 - SMOOTHING) * self._rate + SMOOTHING * measured
        run.measured_at, run.measured_done = now, run.done

    def running(self, task_id: str) -> RunProgress | None:
        run = self._runs.get(task_id)
        if run is None:
            return None
        left = (run.total - run.done) / (run.rate or self._rate)
        return RunProgress(bytes_done=run.done, bytes_total=run.total, eta_seconds=max(0.0, left))

    def queued(self, place: int, size: int, ahead: int) -> RunProgress:
        """``ahead``: bytes of the queue before this task; each byte is passed over twice, sealed and checked."""
        running = sum(run.total - run.done for run in self._runs.values())
        left = (running + 2 * (ahead + size)) / self._rate
        return RunProgress(bytes_total=2 * size, queue_position=place, eta_seconds=left)
