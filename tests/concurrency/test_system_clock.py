"""Tests of the system clock when the system time is set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sealyard.concurrency import clock as clock_module
from sealyard.concurrency.clock import SystemClock


class SystemTime:
    """Replaces :class:`datetime` in the module of the clock."""

    value = datetime(2026, 11, 23, tzinfo=UTC)

    @classmethod
    def now(cls, _zone: object) -> datetime:
        return cls.value


@pytest.fixture
def system_time(monkeypatch: pytest.MonkeyPatch) -> type[SystemTime]:
    monkeypatch.setattr(clock_module, "datetime", SystemTime)
    monkeypatch.setattr(SystemTime, "value", SystemTime.value)
    return SystemTime


def test_short_step_back_keeps_last_time(system_time: type[SystemTime]) -> None:
    clock = SystemClock()
    start = system_time.value
    system_time.value = start - timedelta(hours=1)
    assert clock.now() == start
    system_time.value = start + timedelta(seconds=1)
    assert clock.now() == system_time.value


def test_corrected_jump_is_followed(system_time: type[SystemTime]) -> None:
    clock = SystemClock()
    start = system_time.value
    system_time.value = start + timedelta(days=60)
    assert clock.now() == system_time.value
    system_time.value = start
    assert clock.now() == start


def test_monotonic_time_increases() -> None:
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
