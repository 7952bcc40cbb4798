"""Tests of the file with the last accepted reading of the clock."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.engine.state.clock_guard import ClockGuard, ClockReading
from sealyard.engine.state.clock_record import ClockRecord
from tests.support.clock import FakeClock

pytestmark = pytest.mark.anyio


def read_clock(clock: FakeClock) -> ClockReading:
    return ClockGuard(clock, None, None).read()


async def test_reading_is_restored(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    reading = read_clock(FakeClock())
    await ClockRecord(path).save(reading)
    assert ClockRecord(path).load() == reading
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


async def test_redundant_reading_is_not_written(tmp_path: Path) -> None:
    path, clock = tmp_path / "clock.json", FakeClock()
    record = ClockRecord(path)
    first_reading = read_clock(clock)
    await record.save(first_reading)
    clock.advance(hours=5)
    for other_record in (record, ClockRecord(path)):
        other_record.load()
        await other_record.save(read_clock(clock))
        assert ClockRecord(path).load() == first_reading


@pytest.mark.parametrize(
    "change",
    [
        lambda clock: clock.advance(hours=6),
        lambda clock: clock.jump(minutes=2),
        lambda clock: clock.jump(minutes=-2),
        lambda clock: clock.reboot(),
    ],
    ids=["old", "ahead", "behind", "other boot"],
)
async def test_informative_reading_is_written(tmp_path: Path, change: object) -> None:
    path, clock = tmp_path / "clock.json", FakeClock()
    record = ClockRecord(path)
    await record.save(read_clock(clock))
    assert callable(change)
    change(clock)
    await record.save(read_clock(clock))
    assert ClockRecord(path).load() == read_clock(clock)


async def test_nothing_is_written_without_a_known_boot(tmp_path: Path) -> None:
    clock = FakeClock()
    clock.boot = None
    record = ClockRecord(tmp_path / "clock.json")
    await record.save(read_clock(clock))
    await record.save(None)
    assert list(tmp_path.iterdir()) == []


async def test_failed_write_is_logged_and_repeated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = ClockRecord(tmp_path / "missing" / "clock.json")
    reading = read_clock(FakeClock())
    await record.save(reading)
    assert "could not save the last accepted time" in caplog.text
    (tmp_path / "missing").mkdir()
    await record.save(reading)
    assert record.load() == reading


VALID = msgspec.json.encode(read_clock(FakeClock()))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        VALID[:-1],
        VALID + b"x",
        VALID.replace(b"Z", b""),
        VALID.replace(b'"monotonic":', b'"monotonic":-'),
        VALID.replace(b'"monotonic":', b'"monotonic":1e999,"x":'),
        VALID.replace(b"boot 1", b"\xff"),
    ],
)
async def test_damaged_file_is_ignored(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clock.json"
    path.write_bytes(content)
    assert ClockRecord(path).load() is None


async def test_folder_is_ignored(tmp_path: Path) -> None:
    assert ClockRecord(tmp_path).load() is None
    assert ClockRecord(tmp_path / "missing").load() is None


@given(st.binary() | st.binary().map(lambda data: VALID[: len(data)] + data))
def test_any_content_can_be_loaded(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clock.json"
        path.write_bytes(content)
        stored_reading = ClockRecord(path).load()
    ClockGuard(FakeClock(), None, stored_reading).is_trusted()
