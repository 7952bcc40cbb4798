"""What is foretold of running and queued tasks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.engine.execution.progress import INITIAL_RATE, ProgressEstimator
from sealyard.model.worker_messages import Heartbeat

MIB = 1 << 20


def beat(done: int, total: int) -> Heartbeat:
    return Heartbeat(task_id="t", fencing_token=1, done=done, total=total)


def test_the_time_left_is_what_is_left_at_the_rate_of_late() -> None:
    pace = ProgressEstimator()
    pace.begin("t", 100 * MIB, now=0.0)
    for second in range(1, 51):
        live = pace.record(beat(second * MIB, 100 * MIB), now=float(second))
    assert live is not None
    assert live.eta_seconds == pytest.approx(50)


def test_beats_that_were_held_up_and_come_together_do_not_make_a_task_look_done() -> None:
    pace = ProgressEstimator()
    pace.begin("t", 1000 * MIB, now=0.0)
    for burst in range(1, 11):
        for late in range(5):
            live = pace.record(beat((burst * 5 + late) * MIB, 1000 * MIB), now=burst * 0.5 + late * 1e-6)
    assert live is not None
    assert live.eta_seconds is not None
    assert 80 < live.eta_seconds < 120, "ten MiB a second, and 946 MiB to go"


def test_before_anything_was_measured_a_guess_is_told() -> None:
    pace = ProgressEstimator()
    pace.begin("t", int(INITIAL_RATE), now=0.0)
    live = pace.running_progress("t")
    assert live is not None
    assert live.eta_seconds == pytest.approx(1)
    assert pace.queued_progress(1, int(INITIAL_RATE), bytes_ahead=0).eta_seconds == pytest.approx(3)


def test_a_beat_that_says_nothing_new_is_not_told() -> None:
    pace = ProgressEstimator()
    pace.begin("t", MIB, now=0.0)
    assert pace.record(beat(10, MIB), now=1.0) is not None
    assert pace.record(beat(10, MIB), now=2.0) is None
    pace.end("t")
    assert pace.record(beat(20, MIB), now=3.0) is None


@given(st.lists(st.tuples(st.integers(0, 10 * MIB), st.floats(0, 5)), max_size=40))
def test_whatever_beats_come_the_time_left_is_a_time(steps: list[tuple[int, float]]) -> None:
    pace = ProgressEstimator()
    pace.begin("t", 10 * MIB, now=0.0)
    now = 0.0
    for done, seconds in steps:
        now += seconds
        live = pace.record(beat(done, 10 * MIB), now)
        assert live is None or (live.eta_seconds is not None and 0 <= live.eta_seconds < float("inf"))
