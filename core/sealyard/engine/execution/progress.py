"""Progress of running and queued tasks, kept in memory only: bytes, rate, queue position and remaining time."""

from __future__ import annotations

from sealyard.model.tasks import RunProgress
from sealyard.model.worker_messages import Heartbeat

INITIAL_RATE = 300 * 1024 * 1024.0
"""The assumed rate, in bytes per second, until one has been measured."""

SMOOTHING = 0.2
"""Weight of the newest sample in the exponential moving average of the rate."""

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
        self.sampled_bytes = 0
        self.rate: float | None = None


class ProgressEstimator:
    """Measures the rate of running tasks, and estimates the remaining time of running and queued tasks."""

    def __init__(self) -> None:
        self._runs: dict[str, _Measurement] = {}
        self._rate = INITIAL_RATE

    def begin(self, task_id: str, total_bytes: int, now: float) -> None:
        """Start to measure a task that has to process ``total_bytes``. ``now`` is as for :meth:`record`."""
        self._runs[task_id] = _Measurement(total_bytes, now)

    def end(self, task_id: str) -> None:
        self._runs.pop(task_id, None)

    def record(self, heartbeat: Heartbeat, now: float) -> RunProgress | None:
        """Record a heartbeat; return the task's new progress, or None if the heartbeat reports no change.

        ``now`` is the time of a monotonic clock, in seconds.
        """
        measurement = self._runs.get(heartbeat.task_id)
        if measurement is None or heartbeat.done == measurement.done:
            return None
        measurement.done, measurement.total = heartbeat.done, heartbeat.total
        if now - measurement.sampled_at >= MIN_SAMPLE_SECONDS:
            self._update_rates(measurement, now)
        return self.running_progress(heartbeat.task_id)

    def _update_rates(self, measurement: _Measurement, now: float) -> None:
        """Take a sample of the rate and update the averages of this task and of all tasks."""
        sample = max(0, measurement.done - measurement.sampled_bytes) / (now - measurement.sampled_at)
        measurement.rate = (
            sample if measurement.rate is None else (1 - SMOOTHING) * measurement.rate + SMOOTHING * sample
        )
        self._rate = (1 - SMOOTHING) * self._rate + SMOOTHING * sample
        measurement.sampled_at, measurement.sampled_bytes = now, measurement.done

    def running_progress(self, task_id: str) -> RunProgress | None:
        """Return the progress of a running task, or None if it is not being measured."""
        measurement = self._runs.get(task_id)
        if measurement is None:
            return None
        remaining_seconds = (measurement.total - measurement.done) / (measurement.rate or self._rate)
        return RunProgress(
            bytes_done=measurement.done, bytes_total=measurement.total, eta_seconds=max(0.0, remaining_seconds)
        )

    def queued_progress(self, position: int, size: int, bytes_ahead: int) -> RunProgress:
        """Return the progress of a queued task of ``size`` bytes.

        ``position`` is the task's position in the queue, ``bytes_ahead`` the number of bytes queued before it. Each
        byte is processed twice: once to encrypt it and once to verify it.
        """
        running_bytes = sum(measurement.total - measurement.done for measurement in self._runs.values())
        remaining_seconds = (running_bytes + 2 * (bytes_ahead + size)) / self._rate
        return RunProgress(bytes_total=2 * size, queue_position=position, eta_seconds=remaining_seconds)
