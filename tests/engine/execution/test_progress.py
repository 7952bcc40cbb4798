"""Tests of the time estimates for running and queued tasks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.engine.execution.progress import INITIAL_RATE, ProgressEstimator
from sealyard.model.worker_messages import Heartbeat

MIB = 1 << 20


def make_heartbeat(done: int, total: int) -> Heartbeat:
    return Heartbeat(task_id="t", fencing_token=1, done=done, total=total)


def test_eta_uses_recent_rate() -> None:
    estimator = ProgressEstimator()
    estimator.begin("t", 100 * MIB, now=0.0)
    for second in range(1, 51):
        progress = estimator.record(make_heartbeat(second * MIB, 100 * MIB), now=float(second))
    assert progress is not None
    assert progress.eta_seconds == pytest.approx(50)


def test_delayed_heartbeats_do_not_shorten_eta() -> None:
    estimator = ProgressEstimator()
    estimator.begin("t", 1000 * MIB, now=0.0)
    for burst in range(1, 11):
        for position in range(5):
            progress = estimator.record(
                make_heartbeat((burst * 5 + position) * MIB, 1000 * MIB), now=burst * 0.5 + position * 1e-6
            )
    assert progress is not None
    assert progress.eta_seconds is not None
    assert 80 < progress.eta_seconds < 120, "the rate is 10 MiB per second, and 946 MiB remain"


def test_eta_before_measurement_uses_initial_rate() -> None:
    estimator = ProgressEstimator()
    estimator.begin("t", int(INITIAL_RATE), now=0.0)
    progress = estimator.running_progress("t")
    assert progress is not None
    assert progress.eta_seconds == pytest.approx(1)
    assert estimator.queued_progress(1, int(INITIAL_RATE), bytes_ahead=0).eta_seconds == pytest.approx(3)


def test_unchanged_heartbeat_reports_no_progress() -> None:
    estimator = ProgressEstimator()
    estimator.begin("t", MIB, now=0.0)
    assert estimator.record(make_heartbeat(10, MIB), now=1.0) is not None
    assert estimator.record(make_heartbeat(10, MIB), now=2.0) is None
    estimator.end("t")
    assert estimator.record(make_heartbeat(20, MIB), now=3.0) is None


@given(st.lists(st.tuples(st.integers(0, 10 * MIB), st.floats(0, 5)), max_size=40))
def test_any_heartbeats_give_finite_eta(steps: list[tuple[int, float]]) -> None:
    estimator = ProgressEstimator()
    estimator.begin("t", 10 * MIB, now=0.0)
    now = 0.0
    for done, seconds in steps:
        now += seconds
        progress = estimator.record(make_heartbeat(done, 10 * MIB), now)
        assert progress is None or (progress.eta_seconds is not None and 0 <= progress.eta_seconds < float("inf"))
