"""Tests of the worker slots: a large job gets its own worker, and one slot is reserved for small jobs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.jobs.bus import LARGE_JOB_BYTES
from sealyard.jobs.worker_pool import WorkerPool
from sealyard.jobs.worker_slot import MAX_SMALL_JOBS
from tests.support.bus_driver import ConstantClock

SMALL = LARGE_JOB_BYTES - 1


@pytest.fixture
def pool() -> WorkerPool:
    return WorkerPool(None, Path("/nowhere/log"), ConstantClock(), workers=2)


def test_large_job_keeps_slot_for_small_jobs(pool: WorkerPool) -> None:
    assert pool.reserve("large", LARGE_JOB_BYTES)
    assert not pool.reserve("another large", LARGE_JOB_BYTES)
    assert all(pool.reserve(f"small {number}", SMALL) for number in range(MAX_SMALL_JOBS))
    assert not pool.reserve("one too many", SMALL)


def test_large_job_requires_a_free_worker(pool: WorkerPool) -> None:
    assert pool.reserve("one", SMALL)
    assert pool.reserve("two", SMALL)
    assert not pool.reserve("large", LARGE_JOB_BYTES)
    pool.release("two")
    assert pool.reserve("large", LARGE_JOB_BYTES)
    assert pool.reserve("three", SMALL)


def test_small_job_yields_to_waiting_large_job(pool: WorkerPool) -> None:
    assert pool.reserve("one", SMALL)
    assert pool.reserve("two", SMALL)
    assert not pool.reserve("large", LARGE_JOB_BYTES)
    pool.release("two")
    assert pool.reserve("three", SMALL, large_job_waiting=True)
    assert pool.reserve("large", LARGE_JOB_BYTES)


def test_released_slot_accepts_next_large_job(pool: WorkerPool) -> None:
    assert pool.reserve("large", LARGE_JOB_BYTES)
    pool.release("large")
    assert pool.reserve("another large", LARGE_JOB_BYTES)


def test_single_worker_accepts_small_jobs() -> None:
    pool = WorkerPool(None, Path("/nowhere/log"), ConstantClock(), workers=1)
    assert pool.reserve("large", LARGE_JOB_BYTES)
    assert pool.reserve("small", SMALL)


def test_reserve_starts_no_worker(pool: WorkerPool) -> None:
    assert pool.reserve("small", SMALL)
    assert pool.pids == ()


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=60), st.integers(2, 4))
def test_slot_limits_hold_for_any_sequence(steps: list[tuple[int, bool]], workers: int) -> None:
    pool = WorkerPool(None, Path("/nowhere/log"), ConstantClock(), workers)
    reserved: dict[str, bool] = {}
    for number, large in steps:
        task_id = str(number)
        if task_id in reserved:
            pool.release(task_id)
            del reserved[task_id]
        elif pool.reserve(task_id, LARGE_JOB_BYTES if large else SMALL):
            reserved[task_id] = large
        else:
            assert large, "ten small jobs always get a slot"
        assert sum(reserved.values()) <= workers - 1
