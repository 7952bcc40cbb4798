"""Tests of the worker slots: a large job gets its own worker, and one slot is reserved for small jobs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.jobs.bus import LARGE_JOB_BYTES
from sealyard.jobs.pipe_bus import MAX_SMALL_JOBS, PipeBus
from tests.support.bus_driver import ConstantClock

SMALL = LARGE_JOB_BYTES - 1


@pytest.fixture
def bus() -> PipeBus:
    return PipeBus(None, Path("/nowhere/log"), ConstantClock(), workers=2)


def test_large_job_keeps_slot_for_small_jobs(bus: PipeBus) -> None:
    assert bus.reserve("large", LARGE_JOB_BYTES)
    assert not bus.reserve("another large", LARGE_JOB_BYTES)
    assert all(bus.reserve(f"small {number}", SMALL) for number in range(MAX_SMALL_JOBS))
    assert not bus.reserve("one too many", SMALL)


def test_large_job_requires_a_free_worker(bus: PipeBus) -> None:
    assert bus.reserve("one", SMALL)
    assert bus.reserve("two", SMALL)
    assert not bus.reserve("large", LARGE_JOB_BYTES)
    bus.release("two")
    assert bus.reserve("large", LARGE_JOB_BYTES)
    assert bus.reserve("three", SMALL)


def test_small_job_yields_to_waiting_large_job(bus: PipeBus) -> None:
    assert bus.reserve("one", SMALL)
    assert bus.reserve("two", SMALL)
    assert not bus.reserve("large", LARGE_JOB_BYTES)
    bus.release("two")
    assert bus.reserve("three", SMALL, large_job_waiting=True)
    assert bus.reserve("large", LARGE_JOB_BYTES)


def test_released_slot_accepts_next_large_job(bus: PipeBus) -> None:
    assert bus.reserve("large", LARGE_JOB_BYTES)
    bus.release("large")
    assert bus.reserve("another large", LARGE_JOB_BYTES)


def test_single_worker_accepts_small_jobs() -> None:
    bus = PipeBus(None, Path("/nowhere/log"), ConstantClock(), workers=1)
    assert bus.reserve("large", LARGE_JOB_BYTES)
    assert bus.reserve("small", SMALL)


def test_reserve_starts_no_worker(bus: PipeBus) -> None:
    assert bus.reserve("small", SMALL)
    assert bus.pids == ()


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=60), st.integers(2, 4))
def test_slot_limits_hold_for_any_sequence(steps: list[tuple[int, bool]], workers: int) -> None:
    bus = PipeBus(None, Path("/nowhere/log"), ConstantClock(), workers)
    reserved: dict[str, bool] = {}
    for number, large in steps:
        task_id = str(number)
        if task_id in reserved:
            bus.release(task_id)
            del reserved[task_id]
        elif bus.reserve(task_id, LARGE_JOB_BYTES if large else SMALL):
            reserved[task_id] = large
        else:
            assert large, "ten small jobs always get a slot"
        assert sum(reserved.values()) <= workers - 1
