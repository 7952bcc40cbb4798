"""Lanes: a large job has a worker to itself, and one place is always left to small ones. No process is started."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.jobs.bus import LARGE_JOB_BYTES
from sealyard.jobs.pipe_bus import MAX_SMALL_JOBS, PipeBus
from tests.support.bus_driver import SystemTimeClock
from tests.support.worker_harness import WorkerWorkspace

SMALL = LARGE_JOB_BYTES - 1


@pytest.fixture
def bus(house: WorkerWorkspace) -> PipeBus:
    return PipeBus(house.key_store_request, house.places.worker_log, SystemTimeClock(), workers=2)


def test_a_large_job_leaves_one_place_to_small_ones(bus: PipeBus) -> None:
    assert bus.reserve("large", LARGE_JOB_BYTES)
    assert not bus.reserve("another large", LARGE_JOB_BYTES)
    assert all(bus.reserve(f"small {number}", SMALL) for number in range(MAX_SMALL_JOBS))
    assert not bus.reserve("one too many", SMALL)


def test_a_large_job_waits_for_a_place_of_its_own(bus: PipeBus) -> None:
    assert bus.reserve("one", SMALL)
    assert bus.reserve("two", SMALL)
    assert not bus.reserve("large", LARGE_JOB_BYTES)
    bus.release("two")
    assert bus.reserve("large", LARGE_JOB_BYTES)
    assert bus.reserve("three", SMALL)


def test_small_jobs_keep_out_of_the_way_of_a_large_one_that_waits(bus: PipeBus) -> None:
    assert bus.reserve("one", SMALL)
    assert bus.reserve("two", SMALL)
    assert not bus.reserve("large", LARGE_JOB_BYTES)
    bus.release("two")
    assert bus.reserve("three", SMALL, large_job_waiting=True)
    assert bus.reserve("large", LARGE_JOB_BYTES)


def test_a_place_given_back_takes_the_next_large_job(bus: PipeBus) -> None:
    assert bus.reserve("large", LARGE_JOB_BYTES)
    bus.release("large")
    assert bus.reserve("another large", LARGE_JOB_BYTES)


def test_even_one_worker_leaves_a_place_to_small_jobs(house: WorkerWorkspace) -> None:
    bus = PipeBus(house.key_store_request, house.places.worker_log, SystemTimeClock(), workers=1)
    assert bus.reserve("large", LARGE_JOB_BYTES)
    assert bus.reserve("small", SMALL)


def test_claiming_starts_no_worker(bus: PipeBus) -> None:
    assert bus.reserve("small", SMALL)
    assert bus.pids == ()


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=60), st.integers(2, 4))
def test_however_jobs_come_and_go_the_lanes_hold(steps: list[tuple[int, bool]], workers: int) -> None:
    from pathlib import Path

    from sealyard.model.worker_messages import OpenKeyStore

    unlock = OpenKeyStore(workspace="/nowhere", workspace_id="w1", key_store="passphrase")
    bus = PipeBus(unlock, Path("/nowhere/log"), SystemTimeClock(), workers)
    held: dict[str, bool] = {}
    for number, large in steps:
        task_id = str(number)
        if task_id in held:
            bus.release(task_id)
            del held[task_id]
        elif bus.reserve(task_id, LARGE_JOB_BYTES if large else SMALL):
            held[task_id] = large
        else:
            assert large, "ten small jobs always find a place"
        assert sum(held.values()) <= workers - 1
