"""Tests of the guard that decides whether the system clock can be trusted."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.engine.state.clock_guard import ClockGuard
from tests.support.clock import START, FakeClock

HOUR = 3600.0


@given(st.lists(st.floats(0, 1e6), max_size=20))
def test_steady_clock_is_trusted(steps: list[float]) -> None:
    clock = FakeClock()
    guard = ClockGuard(clock, clock.now())
    for seconds in steps:
        clock.advance(seconds=seconds)
        assert guard.is_trusted()


@pytest.mark.parametrize("hours", [1.01, 24 * 60])
def test_jump_is_trusted_after_one_steady_hour(hours: float) -> None:
    clock = FakeClock()
    guard = ClockGuard(clock, clock.now())
    assert guard.is_trusted()
    clock.jump(hours=hours)
    assert guard.seconds_until_trusted() == HOUR
    assert guard.has_jumped
    clock.advance(seconds=HOUR - 1)
    assert guard.seconds_until_trusted() == 1
    clock.advance(seconds=1)
    assert guard.is_trusted()
    assert not guard.has_jumped


def test_second_jump_restarts_the_hour() -> None:
    clock = FakeClock()
    guard = ClockGuard(clock, clock.now())
    clock.jump(days=60)
    assert not guard.is_trusted()
    clock.advance(minutes=59)
    clock.jump(days=60)
    assert guard.seconds_until_trusted() == HOUR


def test_corrected_clock_is_trusted_at_once() -> None:
    clock = FakeClock()
    guard = ClockGuard(clock, clock.now())
    clock.jump(days=60)
    assert not guard.is_trusted()
    clock.jump(days=-60)
    assert guard.is_trusted()


def test_clock_set_back_is_trusted_until_it_jumps_forward() -> None:
    clock = FakeClock()
    guard = ClockGuard(clock, clock.now())
    clock.jump(days=-60)
    assert guard.is_trusted()
    clock.jump(days=60)
    assert not guard.is_trusted()


def test_downtime_is_no_jump_but_waits() -> None:
    clock = FakeClock()
    guard = ClockGuard(clock, START - timedelta(days=60))
    assert not guard.is_trusted()
    assert not guard.has_jumped
    assert guard.warnings() == ()
    assert "60 days ahead" in guard.hold().message
    assert "60 days ahead" in guard.warnings()[0]
    clock.advance(hours=1)
    assert guard.warnings() == ()


def test_new_workspace_trusts_the_clock() -> None:
    assert ClockGuard(FakeClock(), None).is_trusted()
