"""Test the delays between attempts: growth, jitter and total timeout."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.concurrency.backoff import Backoff, RetryDelays

seconds = st.floats(0.01, 1000.0)
seeds = st.integers(0, 2**32)


class RecordingClock:
    """A clock that only advances when something sleeps."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def boot_id(self) -> str | None:
        return None

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += timedelta(seconds=seconds)


class AttemptError(Exception):
    pass


@given(seconds, st.floats(1.0, 100.0), st.floats(1.5, 4.0), st.integers(1, 50))
def test_exponential_delays_grow_to_maximum(first: float, ratio: float, factor: float, failures: int) -> None:
    delays = RetryDelays.exponential(first, first * ratio, factor=factor)
    assert delays.seconds[0] == first
    assert delays.seconds[-1] == max(first, first * ratio)
    assert list(delays.seconds) == sorted(delays.seconds)
    assert all(later <= earlier * factor for earlier, later in zip(delays.seconds, delays.seconds[1:], strict=False))
    assert delays.delay_after(failures) <= delays.delay_after(failures + 1) <= delays.seconds[-1]
    assert delays.delay_after(len(delays.seconds) + failures) == delays.seconds[-1]


@given(st.lists(seconds, min_size=1, max_size=8), st.floats(0.1, 1.0), st.floats(1.0, 2.0), seeds, st.integers(1, 20))
def test_jitter_stays_within_bounds(table: list[float], low: float, high: float, seed: int, failures: int) -> None:
    delays = RetryDelays(tuple(table), jitter=(low, high))
    plain = table[min(failures, len(table)) - 1]
    delay = delays.delay_after(failures, Random(seed))
    assert plain * low * (1 - 1e-9) <= delay <= plain * high * (1 + 1e-9)
    assert delay == delays.delay_after(failures, Random(seed))


@given(seconds, st.floats(0.0, 10.0), seeds)
def test_wait_beyond_timeout_raises_last_error(timeout: float, at_least: float, seed: int) -> None:
    clock = RecordingClock()
    delays = RetryDelays.exponential(0.1, 5.0, jitter=(0.5, 1.0))
    backoff = Backoff(delays, clock, timeout=timeout, random=Random(seed))

    async def wait_until_raised() -> None:
        while True:
            await backoff.wait(AttemptError(), at_least)

    with pytest.raises(AttemptError):
        asyncio.run(wait_until_raised())
    assert sum(clock.slept) <= timeout + 1e-3
    assert sum(clock.slept) + at_least + 5.0 > timeout - 1e-3
    assert all(slept >= at_least + 0.05 * (1 - 1e-9) for slept in clock.slept)


def test_wait_without_timeout_never_raises() -> None:
    clock = RecordingClock()
    backoff = Backoff(RetryDelays((1.0, 60.0)), clock)

    async def wait_often() -> None:
        for _ in range(1000):
            await backoff.wait(AttemptError())

    asyncio.run(wait_often())
    assert clock.slept == [1.0, *[60.0] * 999]


def test_reset_restores_first_delay_and_timeout() -> None:
    clock = RecordingClock()
    backoff = Backoff(RetryDelays((1.0, 2.0, 4.0)), clock, timeout=4.0)

    async def wait_twice() -> None:
        await backoff.wait(AttemptError())
        await backoff.wait(AttemptError())

    asyncio.run(wait_twice())
    backoff.reset()
    asyncio.run(wait_twice())
    assert clock.slept == [1.0, 2.0, 1.0, 2.0]
    assert backoff.next_delay() == 4.0
