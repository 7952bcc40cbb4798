"""Tests of the guard that decides whether the system clock can be trusted."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.engine.state.clock_guard import ClockGuard, format_lead
from tests.support.clock import START, FakeClock

HOUR = 3600.0


@given(st.lists(st.floats(0, 1e6), max_size=20))
def test_steady_clock_is_trusted(steps: list[float]) -> None:
    clock = FakeClock()
    guard = ClockGuard(clock, clock.now(), None)
    for seconds in steps:
        clock.advance(seconds=seconds)
        assert guard.is_trusted()


@pytest.mark.parametrize("hours", [1.01, 24 * 60])
def test_jump_is_trusted_after_one_steady_hour(hours: float) -> None:
    clock = FakeClock()
    guard = ClockGuard(clock, clock.now(), None)
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
    guard = ClockGuard(clock, clock.now(), None)
    clock.jump(days=60)
    assert not guard.is_trusted()
    clock.advance(minutes=59)
    clock.jump(days=60)
    assert guard.seconds_until_trusted() == HOUR


def test_corrected_clock_is_trusted_at_once() -> None:
    clock = FakeClock()
    guard = ClockGuard(clock, clock.now(), None)
    clock.jump(days=60)
    assert not guard.is_trusted()
    clock.jump(days=-60)
    assert guard.is_trusted()


def test_clock_set_back_is_trusted_until_it_jumps_forward() -> None:
    clock = FakeClock()
    guard = ClockGuard(clock, clock.now(), None)
    clock.jump(days=-60)
    assert guard.is_trusted()
    clock.jump(days=60)
    assert not guard.is_trusted()


def test_downtime_is_no_jump_but_waits() -> None:
    clock = FakeClock()
    guard = ClockGuard(clock, START - timedelta(days=60), None)
    assert not guard.is_trusted()
    assert not guard.has_jumped
    assert guard.warning() is None
    assert [guard.hold(), guard.hold()] == [True, False]
    warning = guard.warning()
    assert warning is not None
    assert "60 days ahead" in warning.message
    assert "wait 60 minutes" in warning.hint
    clock.advance(hours=1)
    assert guard.warning() is None


def test_new_workspace_trusts_the_clock() -> None:
    assert ClockGuard(FakeClock(), None, None).is_trusted()


@given(st.lists(st.floats(0, 1e6), max_size=20))
def test_steady_clock_is_trusted_across_restarts(steps: list[float]) -> None:
    clock = FakeClock()
    guard = ClockGuard(clock, clock.now(), None)
    assert guard.is_trusted()
    for seconds in steps:
        clock.advance(seconds=seconds)
        guard = ClockGuard(clock, START, guard.accepted_reading)
        assert guard.is_trusted()


@given(st.lists(st.floats(0, 1e6), max_size=5), st.floats(HOUR + 1, 1e8))
def test_jump_between_two_starts_is_detected(steps: list[float], jump: float) -> None:
    clock = FakeClock()
    guard = ClockGuard(clock, clock.now(), None)
    assert guard.is_trusted()
    for seconds in steps:
        clock.advance(seconds=seconds)
    clock.jump(seconds=jump)
    # The audit log may have entries with the wrong time.
    guard = ClockGuard(clock, clock.now(), guard.accepted_reading)
    assert guard.seconds_until_trusted() == HOUR
    assert guard.has_jumped
    assert guard.accepted_reading is None


def test_reading_of_another_boot_is_ignored() -> None:
    clock = FakeClock()
    stored_reading = ClockGuard(clock, None, None).read()
    clock.advance(hours=10)
    clock.reboot()
    guard = ClockGuard(clock, START, stored_reading)
    assert guard.seconds_until_trusted() == HOUR
    assert not guard.has_jumped
    assert ClockGuard(clock, clock.now(), stored_reading).is_trusted()


def test_reading_of_an_unknown_boot_is_ignored() -> None:
    clock = FakeClock()
    clock.boot = None
    stored_reading = ClockGuard(clock, None, None).read()
    clock.advance(hours=10)
    assert not ClockGuard(clock, START, stored_reading).is_trusted()


def test_reading_from_later_in_the_boot_is_ignored() -> None:
    clock = FakeClock()
    reading = ClockGuard(clock, None, None).read()
    stored_reading = msgspec.structs.replace(reading, monotonic=reading.monotonic + 1)
    assert not ClockGuard(clock, START - timedelta(hours=2), stored_reading).is_trusted()


def test_accepted_reading_is_the_base_for_later_ones() -> None:
    clock = FakeClock()
    guard = ClockGuard(clock, clock.now(), None)
    clock.jump(days=60)
    assert not guard.is_trusted()
    reading = guard.read()
    assert guard.lead_of(reading) == timedelta(days=60)
    clock.jump(days=60)
    guard.accept(reading)
    assert not guard.is_trusted()
    guard.accept(guard.read())
    assert guard.is_trusted()
    assert guard.warning() is None


@pytest.mark.parametrize(
    ("lead", "text"),
    [
        (timedelta(minutes=61), "1 hour"),
        (timedelta(hours=3, minutes=29), "3 hours"),
        (timedelta(hours=47), "47 hours"),
        (timedelta(days=60, hours=5), "60 days"),
    ],
)
def test_format_lead(lead: timedelta, text: str) -> None:
    assert format_lead(lead) == text
