"""Tests of the token bucket limiter: rate, burst, and separate buckets per caller."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.errors import TooManyRequestsError
from sealyard.server.auth import rate_limit
from sealyard.server.auth.rate_limit import BURST_SECONDS, TokenBucketLimiter


class ManualClock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def count_accepted(limiter: TokenBucketLimiter, caller: str, requests: int) -> int:
    """Send `requests` requests at once; return how many are accepted."""
    accepted = 0
    for _ in range(requests):
        try:
            limiter.acquire(caller)
        except TooManyRequestsError:
            continue
        accepted += 1
    return accepted


def test_requests_above_burst_are_rejected() -> None:
    assert count_accepted(TokenBucketLimiter(60, ManualClock()), "anna", 100) == BURST_SECONDS


def test_bucket_refills_over_time() -> None:
    clock = ManualClock()
    limiter = TokenBucketLimiter(60, clock)
    count_accepted(limiter, "anna", 100)
    clock.seconds += 3
    assert count_accepted(limiter, "anna", 100) == 3
    clock.seconds += 1_000_000
    assert count_accepted(limiter, "anna", 100) == BURST_SECONDS


def test_limit_applies_per_caller() -> None:
    limiter = TokenBucketLimiter(60, ManualClock())
    count_accepted(limiter, "anna", 100)
    assert count_accepted(limiter, "berta", 1) == 1


def test_request_after_retry_after_is_accepted() -> None:
    clock = ManualClock()
    limiter = TokenBucketLimiter(6, clock)
    limiter.acquire("anna")
    with pytest.raises(TooManyRequestsError) as error:
        limiter.acquire("anna")
    assert error.value.retry_after == pytest.approx(10)
    clock.seconds += error.value.retry_after - 0.01
    assert count_accepted(limiter, "anna", 1) == 0
    clock.seconds += 0.02
    assert count_accepted(limiter, "anna", 1) == 1


def test_slowest_rate_accepts_one_request() -> None:
    assert count_accepted(TokenBucketLimiter(1, ManualClock()), "anna", 10) == 1


def test_rejected_request_does_not_delay_refill() -> None:
    clock = ManualClock()
    limiter = TokenBucketLimiter(60, clock)
    count_accepted(limiter, "anna", 10_000)
    clock.seconds += 1.01
    assert count_accepted(limiter, "anna", 10) == 1


def test_full_limiter_keeps_active_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "MAX_BUCKETS", 3)
    limiter = TokenBucketLimiter(60, ManualClock())
    count_accepted(limiter, "anna", 100)
    for stranger in range(100):
        limiter.acquire(f"stranger {stranger}")
        assert count_accepted(limiter, "anna", 1) == 0, "an active caller keeps its bucket"
    assert len(limiter._buckets) == 3


@given(st.lists(st.floats(0, 100), max_size=60), st.floats(1, 10_000))
def test_accepted_requests_never_exceed_rate_plus_burst(pauses: list[float], per_minute: float) -> None:
    clock = ManualClock()
    limiter = TokenBucketLimiter(per_minute, clock)
    accepted = 0
    for pause in pauses:
        clock.seconds += pause
        accepted += count_accepted(limiter, "anna", 5)
    rate = per_minute / 60
    assert accepted <= max(1.0, rate * BURST_SECONDS) + rate * sum(pauses) + 1e-6 * len(pauses)
