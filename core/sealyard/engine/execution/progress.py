"""Progress of running and queued tasks: bytes, rate, queue position and time left. In memory only."""

from __future__ import annotations

from sealyard.model.tasks import RunProgress
from sealyard.model.worker_messages import Heartbeat

INITIAL_RATE = 300 * 1024 * 1024.0
"""The assumed rate, in bytes per second, until one has been measured."""

SMOOTHING = 0.2
"""Weight of the newest sample in the moving average of the rate."""

MIN_SAMPLE_SECONDS = 0.2
"""Minimum time between two samples, in seconds.

Delayed heartbeats arrive in bursts; a rate measured within a burst would be far too high.
"""


class _Measurement:
    """Progress and rate of one running task."""

    def __init__(self, total: int, now: float) -> None:
        self.done = 0
        self.total = total
        self.sampled_at = now
        self.sampled_done = 0
        self.rate: float | None = None


class ProgressEstimator:
    """Measures the rate of running tasks and estimates the time that running and queued tasks still need."""

    def __init__(self) -> None:
        self._runs: dict[str, _Measurement] = {}
        self._rate = INITIAL_RATE

    def begin(self, task_id: str, total: int, now: float) -> None:
        """Start to measure a task that has ``total`` bytes to process."""
        self._runs[task_id] = _Measurement(total, now)

    def end(self, task_id: str) -> None:
        self._runs.pop(task_id, None)

    def record(self, heartbeat: Heartbeat, now: float) -> RunProgress | None:
        """Record a heartbeat; return the task's new progress, or None if the heartbeat reports no change.

        ``now`` is the time in seconds of any monotonic clock.
        """
        run = self._runs.get(heartbeat.task_id)
        if run is None or heartbeat.done == run.done:
            return None
        run.done, run.total = heartbeat.done, heartbeat.total
        if now - run.sampled_at >= MIN_SAMPLE_SECONDS:
            self._measure(run, now)
        return self.running(heartbeat.task_id)

    def _measure(self, run: _Measurement, now: float) -> None:
        """Take a sample of the rate and update the averages of this task and of all tasks."""
        sample = max(0, run.done - run.sampled_done) / (now - run.sampled_at)
        run.rate = sample if run.rate is None else (1 - SMOOTHING) * run.rate + SMOOTHING * sample
        self._rate = (1 - SMOOTHING) * self._rate + SMOOTHING * sample
        run.sampled_at, run.sampled_done = now, run.done

    def running(self, task_id: str) -> RunProgress | None:
        """Return the progress of a running task, or None if it is not being measured."""
        run = self._runs.get(task_id)
        if run is None:
            return None
        remaining_seconds = (run.total - run.done) / (run.rate or self._rate)
        return RunProgress(bytes_done=run.done, bytes_total=run.total, eta_seconds=max(0.0, remaining_seconds))

    def queued(self, position: int, size: int, ahead: int) -> RunProgress:
        """Return the progress of a queued task of ``size`` bytes.

        ``position`` is its position in the queue, ``ahead`` the number of bytes queued before it. Each byte is
        processed twice: once to encrypt it and once to verify it.
        """
        running_bytes = sum(run.total - run.done for run in self._runs.values())
        remaining_seconds = (running_bytes + 2 * (ahead + size)) / self._rate
        return RunProgress(bytes_total=2 * size, queue_position=position, eta_seconds=remaining_seconds)
