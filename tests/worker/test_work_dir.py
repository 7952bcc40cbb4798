"""Tests of the durability of output files."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from sealyard.fs import atomic
from sealyard.worker import work_dir
from sealyard.worker.work_dir import WorkFolder, background_fsync
from tests.support.limits import TIMEOUT


@pytest.fixture(autouse=True)
def short_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_dir, "FSYNC_INTERVAL", 0.001)


def test_file_is_synced_during_the_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = threading.Event()
    monkeypatch.setattr(atomic, "sync", lambda _: synced.set())
    with (tmp_path / "file").open("wb") as file, background_fsync(file):
        assert synced.wait(TIMEOUT)


def test_sync_error_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Event()

    def fail(_: int) -> None:
        failed.set()
        raise OSError(errno.EIO, "the disk fails")

    monkeypatch.setattr(atomic, "sync", fail)
    with (tmp_path / "file").open("wb") as file, pytest.raises(OSError, match="the disk fails"), background_fsync(file):
        assert failed.wait(TIMEOUT)


def test_error_of_the_block_has_priority(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file, pytest.raises(ZeroDivisionError), background_fsync(file):
        raise ZeroDivisionError
    assert not [each for each in threading.enumerate() if each.name == "background-fsync"]


def test_name_of_new_file_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced_fds: list[int] = []
    monkeypatch.setattr(os, "fsync", synced_fds.append)
    folder_fd = os.open(tmp_path, os.O_RDONLY)
    WorkFolder(folder_fd).create("container").close()
    os.close(folder_fd)
    assert synced_fds == [folder_fd]
