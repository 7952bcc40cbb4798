"""One writer at a time, known by name; readers come and go; a dead process is no obstacle."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.model.errors import StorageError, WorkspaceLockedError
from sealyard.storage.documents import TinyDocumentStore, WriteBatch

HOLD = """
import sys
from pathlib import Path
from sealyard.storage.documents import TinyDocumentStore, WriteBatch
from sealyard.fs.workspace_lock import WorkspaceLock

workspace = Path(sys.argv[1])
lock = WorkspaceLock.acquire(workspace / "lock", "packaging gateway\\x1b[31m")
store = TinyDocumentStore.open(workspace / "store", {}, write=True)
store.submit(WriteBatch(puts=(("tasks", "a", {"n": 1}),))).result()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_writer_is_refused_and_told_who_and_a_reader_is_not(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(WorkspaceLockedError) as refused:
        WorkspaceLock.acquire(tmp_path / "lock", "another thing")
    assert f"process {holder.pid} on " in refused.value.message
    assert "packaging gateway\\x1b[31m" in refused.value.message
    assert "since 20" in refused.value.message
    assert refused.value.hint
    found = WorkspaceLock.holder(tmp_path / "lock")
    assert found is not None
    assert found.pid == holder.pid

    reader = TinyDocumentStore.open(tmp_path / "store", {}, write=False)
    assert reader.get("tasks", "a") == {"n": 1}


def test_a_killed_holder_is_no_obstacle(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(10)
    assert WorkspaceLock.holder(tmp_path / "lock") is None
    with WorkspaceLock.acquire(tmp_path / "lock", "recovery"):
        store = TinyDocumentStore.open(tmp_path / "store", {}, write=True)
        store.submit(WriteBatch(puts=(("tasks", "b", {}),))).result()
        store.close()


def test_a_released_lock_can_be_taken_again(tmp_path: Path) -> None:
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


def test_a_child_of_the_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = WorkspaceLock.acquire(tmp_path / "lock", "starting a worker")
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE):
        lock.release()
        WorkspaceLock.acquire(tmp_path / "lock", "next").release()


@pytest.mark.parametrize("content", [b"", b"{", b'{"pid":"?"}', b"\xff"])
def test_a_holder_that_cannot_be_named_still_holds(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lock"
    with WorkspaceLock.acquire(path, "one"):
        path.write_bytes(content)
        with pytest.raises(WorkspaceLockedError, match="Another process"):
            WorkspaceLock.acquire(path, "two")


def test_a_lock_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        WorkspaceLock.acquire(tmp_path / "missing" / "lock", "one")
    assert WorkspaceLock.holder(tmp_path / "missing" / "lock") is None
