"""Nobody asks more often than allowed, short bursts pass, and one does not pay for another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.errors import TooManyRequestsError
from sealyard.server.auth import rate_limit as limits_module
from sealyard.server.auth.rate_limit import BURST_SECONDS, TokenBucketLimiter


class Steady:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def passed(limits: TokenBucketLimiter, who: str, times: int) -> int:
    """How many of so many requests at once pass."""
    count = 0
    for _ in range(times):
        try:
            limits.acquire(who)
        except TooManyRequestsError:
            continue
        count += 1
    return count


def test_a_burst_passes_and_no_more() -> None:
    assert passed(TokenBucketLimiter(60, Steady()), "anna", 100) == BURST_SECONDS


def test_it_fills_again_as_time_goes_by() -> None:
    clock = Steady()
    limits = TokenBucketLimiter(60, clock)
    passed(limits, "anna", 100)
    clock.seconds += 3
    assert passed(limits, "anna", 100) == 3
    clock.seconds += 1_000_000
    assert passed(limits, "anna", 100) == BURST_SECONDS


def test_one_is_not_held_up_by_another() -> None:
    limits = TokenBucketLimiter(60, Steady())
    passed(limits, "anna", 100)
    assert passed(limits, "berta", 1) == 1


def test_a_refusal_says_when_to_come_again_and_that_is_true() -> None:
    clock = Steady()
    limits = TokenBucketLimiter(6, clock)
    limits.acquire("anna")
    with pytest.raises(TooManyRequestsError) as refused:
        limits.acquire("anna")
    assert refused.value.retry_after == pytest.approx(10)
    clock.seconds += refused.value.retry_after - 0.01
    assert passed(limits, "anna", 1) == 0
    clock.seconds += 0.02
    assert passed(limits, "anna", 1) == 1


def test_at_least_one_request_passes_however_slow_the_rate() -> None:
    assert passed(TokenBucketLimiter(1, Steady()), "anna", 10) == 1


def test_being_refused_does_not_push_the_next_time_away() -> None:
    clock = Steady()
    limits = TokenBucketLimiter(60, clock)
    passed(limits, "anna", 10_000)
    clock.seconds += 1.01
    assert passed(limits, "anna", 10) == 1


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "MAX_BUCKETS", 3)
    limits = TokenBucketLimiter(60, Steady())
    passed(limits, "anna", 100)
    for stranger in range(100):
        limits.acquire(f"stranger {stranger}")
        assert passed(limits, "anna", 1) == 0, "who asks all the time is not forgotten"
    assert len(limits._buckets) == 3


@given(st.lists(st.floats(0, 100), max_size=60), st.floats(1, 10_000))
def test_over_any_time_no_more_pass_than_the_rate_and_one_burst_allow(pauses: list[float], per_minute: float) -> None:
    clock = Steady()
    limits = TokenBucketLimiter(per_minute, clock)
    count = 0
    for pause in pauses:
        clock.seconds += pause
        count += passed(limits, "anna", 5)
    rate = per_minute / 60
    assert count <= max(1.0, rate * BURST_SECONDS) + rate * sum(pauses) + 1e-6 * len(pauses)
