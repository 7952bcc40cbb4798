"""Tests of the workspace lock: one holder, reported to others, and released when its process ends."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sealyard.fs.workspace_lock import LockHolder, WorkspaceLock, lock_error
from sealyard.model.display_zone import DisplayZone
from sealyard.model.errors import StorageError, WorkspaceLockedError, WorkspaceReadOnlyError
from sealyard.storage.documents import TinyDocumentStore, WriteBatch
from tests.support.limits import TIMEOUT
from tests.support.store_helpers import open_test_store

HOLD = """
import sys
from pathlib import Path
from sealyard.storage.documents import WriteBatch
from sealyard.fs.workspace_lock import WorkspaceLock
from tests.support.store_helpers import open_test_store

workspace = Path(sys.argv[1])
lock = WorkspaceLock.acquire(workspace / "lock", "packaging gateway\\x1b[31m")
store = open_test_store(workspace / "store")
store.submit(WriteBatch(puts=(("tasks", "a", {"n": 1}),))).result()
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_second_writer_error_names_the_holder(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(WorkspaceLockedError) as caught:
        WorkspaceLock.acquire(tmp_path / "lock", "another thing")
    assert f"process {holder.pid} on " in caught.value.message
    assert "packaging gateway\\x1b[31m" in caught.value.message
    assert "since 20" in caught.value.message
    assert caught.value.hint
    lock_holder = WorkspaceLock.holder(tmp_path / "lock")
    assert lock_holder is not None
    assert lock_holder.pid == holder.pid

    reader = TinyDocumentStore.open_reader(tmp_path / "store", {})
    assert reader.get("tasks", "a") == {"n": 1}


def test_error_shows_the_time_in_the_display_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    zone = DisplayZone()
    zone.use("Asia/Tokyo")
    monkeypatch.setattr("sealyard.model.formatting.display_zone", zone)
    since = datetime(2026, 11, 23, 14, 2, 11, tzinfo=UTC)
    holder = LockHolder(pid=7, host="build", command="sealyard", purpose="run", since=since)
    assert "since 2026-11-23 23:02:11 JST." in lock_error(holder).message


def test_killed_holder_releases_the_lock(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(TIMEOUT)
    assert WorkspaceLock.holder(tmp_path / "lock") is None
    with WorkspaceLock.acquire(tmp_path / "lock", "recovery"):
        store = open_test_store(tmp_path / "store")
        store.submit(WriteBatch(puts=(("tasks", "b", {}),))).result()
        store.close()


def test_released_lock_can_be_acquired_again(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = WorkspaceLock.acquire(path, "one")
    with pytest.raises(WorkspaceLockedError, match="one"):
        WorkspaceLock.acquire(path, "two")
    first.release()
    first.release()
    with WorkspaceLock.acquire(path, "two"), pytest.raises(WorkspaceLockedError, match="two"):
        WorkspaceLock.acquire(path, "three")
    assert WorkspaceLock.holder(path) is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_child_process_inherits_no_lock(tmp_path: Path) -> None:
    lock = WorkspaceLock.acquire(tmp_path / "lock", "starting a worker")
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE):
        lock.release()
        WorkspaceLock.acquire(tmp_path / "lock", "next").release()


@pytest.mark.parametrize("content", [b"", b"{", b'{"pid":"?"}', b"\xff"])
def test_unreadable_holder_keeps_the_lock(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lock"
    with WorkspaceLock.acquire(path, "one"):
        path.write_bytes(content)
        with pytest.raises(WorkspaceLockedError, match="Another process"):
            WorkspaceLock.acquire(path, "two")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_unwritable_workspace_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def reject(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", reject)
    with pytest.raises(WorkspaceReadOnlyError, match=os.strerror(number)):
        WorkspaceLock.acquire(tmp_path / "lock", "one")
    with pytest.raises(WorkspaceReadOnlyError):
        WorkspaceLock.require_writable(tmp_path / "lock")


def test_lock_in_missing_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        WorkspaceLock.acquire(tmp_path / "missing" / "lock", "one")
    assert WorkspaceLock.holder(tmp_path / "missing" / "lock") is None
