"""Tests of the system clock: when the system time is set, and across processes."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

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


def test_boot_id_is_the_same_in_every_process() -> None:
    program = "from sealyard.concurrency.clock import SystemClock; print(SystemClock().boot_id())"
    completed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert completed.stdout.strip() == str(SystemClock().boot_id())


@pytest.mark.parametrize("content", [None, b"", b"\xff"])
def test_unreadable_boot_id_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> None:
    path = tmp_path / "boot_id"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(clock_module, "_BOOT_ID_FILE", path)
    assert clock_module._read_boot_id.__wrapped__() is None
