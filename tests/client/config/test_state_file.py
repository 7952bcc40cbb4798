"""Test state files: atomic replacement, locking and damage."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from sealyard.client.config.state_file import StateFile, remove_stale_user_files
from sealyard.fs import atomic
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import StorageError


class Counter(FrozenStruct, frozen=True, kw_only=True):
    value: int = 0


def increment(counter: Counter) -> Counter:
    return Counter(value=counter.value + 1)


@pytest.mark.parametrize("operation", ["write_all", "sync", "rename"])
def test_failed_update_keeps_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    state = StateFile(tmp_path / "counter.json", Counter())
    state.update(increment)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic, operation, fail)
        with pytest.raises(StorageError, match="Not enough disk space"):
            state.update(increment)
    assert state.read() == Counter(value=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counter.json", "counter.json.lock"]


def test_concurrent_updates_are_all_kept(tmp_path: Path) -> None:
    def update_repeatedly() -> None:
        state = StateFile(tmp_path / "counter.json", Counter())
        for _ in range(10):
            state.update(increment)

    threads = [threading.Thread(target=update_repeatedly) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert StateFile(tmp_path / "counter.json", Counter()).read() == Counter(value=40)


def test_damaged_state_is_kept_aside_and_reset(tmp_path: Path) -> None:
    path = tmp_path / "counter.json"
    path.write_bytes(b"{")
    state = StateFile(path, Counter())
    assert state.read() == Counter()
    assert "counter.json.damaged" in state.warning
    assert (tmp_path / "counter.json.damaged").read_bytes() == b"{"


def test_unwritable_folder_is_reported_with_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    state = StateFile(tmp_path / "file" / "counter.json", Counter())
    assert state.read() == Counter()
    with pytest.raises(StorageError, match=r"Cannot write .*counter\.json \(Not a directory\)") as caught:
        state.update(increment)
    assert "XDG_STATE_HOME" in caught.value.hint
    assert "workspace" not in caught.value.message


def test_unreadable_file_is_reported_with_path(tmp_path: Path) -> None:
    (tmp_path / "counter.json").mkdir()
    with pytest.raises(StorageError, match=r"Cannot read .*counter\.json"):
        StateFile(tmp_path / "counter.json", Counter()).read()


def test_stale_files_in_user_folders_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folders = (tmp_path / "config" / "sealyard", tmp_path / "state" / "sealyard" / "downloads")
    for folder in folders:
        folder.mkdir(parents=True)
        for name in (".0123456789abcdef.tmp", "profiles.json"):
            (folder / name).touch()
            os.utime(folder / name, (0, 0))
    remove_stale_user_files()
    assert [[path.name for path in folder.iterdir()] for folder in folders] == [["profiles.json"]] * 2
