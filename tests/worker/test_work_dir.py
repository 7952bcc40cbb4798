"""Writing early loses no error and stops with the work."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from sealyard.fs import atomic
from sealyard.worker import work_dir as workplace
from sealyard.worker.work_dir import background_fsync

LIMIT = 10.0


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workplace, "FSYNC_INTERVAL", 0.001)


def test_what_is_written_is_synced_before_the_work_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = threading.Event()
    monkeypatch.setattr(atomic, "sync", lambda _: synced.set())
    with (tmp_path / "file").open("wb") as file, background_fsync(file):
        assert synced.wait(LIMIT)


def test_an_error_of_an_early_sync_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Event()

    def refuse(_: int) -> None:
        failed.set()
        raise OSError(errno.EIO, "the disk fails")

    monkeypatch.setattr(atomic, "sync", refuse)
    with (tmp_path / "file").open("wb") as file, pytest.raises(OSError, match="the disk fails"), background_fsync(file):
        assert failed.wait(LIMIT)


def test_an_error_of_the_work_itself_comes_first(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file, pytest.raises(ZeroDivisionError), background_fsync(file):
        raise ZeroDivisionError
    assert not [each for each in threading.enumerate() if each.name == "background-fsync"]
