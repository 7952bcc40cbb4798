"""The capacity of a zone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sealyard.jobs.bus import LARGE_JOB_BYTES
from sealyard.jobs.zone.hosts import MAX_SMALL_JOBS, Capacity, read_hosts


@given(
    slots=st.lists(st.integers(2, 5), max_size=4),
    sizes=st.lists(st.sampled_from([1, LARGE_JOB_BYTES]), max_size=400),
    waiting=st.booleans(),
)
def test_admitted_jobs_fit(slots: list[int], sizes: list[int], waiting: bool) -> None:
    capacity = Capacity(hosts=len(slots), slots=sum(slots))
    admitted: list[int] = []
    for size in sizes:
        if capacity.admits(size, admitted, large_job_waiting=waiting):
            admitted.append(size)
    large = admitted.count(LARGE_JOB_BYTES)
    small = len(admitted) - large
    assert large <= sum(slots) - len(slots)
    assert small <= (sum(slots) - large) * MAX_SMALL_JOBS or large == 0 or small <= sum(slots) * MAX_SMALL_JOBS


def test_invalid_measures_are_left_out() -> None:
    row = ("h", "host", "0", 2, 1, None, 0.5, False, '[{"name": 1}]')
    assert read_hosts([row])["h"].refused == ()
