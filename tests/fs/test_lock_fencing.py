"""Tests of a workspace lock that a process without the lease still holds: it is killed on this machine only."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import msgspec
import pytest

from sealyard.fs import lock_fencing
from sealyard.fs.lock_fencing import acquire_fenced_lock
from sealyard.fs.workspace_lock import LockHolder, WorkspaceLock
from sealyard.model.errors import WorkspaceLockedError
from tests.support.limits import TIMEOUT
from tests.support.processes import suspend

HOLD = """
import subprocess, sys
from pathlib import Path
from sealyard.fs.workspace_lock import WorkspaceLock

lock = WorkspaceLock.acquire(Path(sys.argv[1]), "serve")
child = subprocess.Popen(["sleep", "1000"], start_new_session=True, stdout=sys.stderr)
print(child.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


@pytest.fixture
def holder(path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that holds the lock, and the folder in ``/proc`` of a process that it has started."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        child = Path("/proc") / process.stdout.readline().strip()
        yield process, child
        process.kill()
        subprocess.run(["kill", "-9", child.name], check=False, stderr=subprocess.DEVNULL)


def describe_holder(path: Path, **fields: object) -> None:
    """Change the description of the lock holder in the file."""
    holder = msgspec.json.decode(path.read_bytes(), type=LockHolder)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(holder, **fields)))


def is_running(process_folder: Path) -> bool:
    try:
        return " Z " not in (process_folder / "stat").read_text()
    except OSError:
        return False


def test_suspended_holder_is_killed_with_its_descendants(
    path: Path, holder: tuple[subprocess.Popen[str], Path]
) -> None:
    process, child = holder
    suspend(process.pid)
    acquire_fenced_lock(path, "serve").release()
    assert process.wait(TIMEOUT) == -signal.SIGKILL
    assert not is_running(child)


def test_holder_that_releases_the_lock_is_not_killed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_fencing, "RELEASE_SECONDS", TIMEOUT)
    lock = WorkspaceLock.acquire(path, "serve")
    timer = Timer(0.1, lock.release)
    timer.start()
    acquire_fenced_lock(path, "next").release()
    timer.join()


@pytest.mark.parametrize("field", ["host", "pid"])
def test_other_process_is_never_killed(
    path: Path,
    holder: tuple[subprocess.Popen[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    field: str,
) -> None:
    """Neither a process on another machine, nor one that the file names but that does not hold the lock."""
    process, child = holder
    describe_holder(path, **{field: "other.example" if field == "host" else int(child.name)})
    monkeypatch.setattr(lock_fencing, "RELEASE_SECONDS", 0.0)
    monkeypatch.setattr(lock_fencing, "FENCING_SECONDS", 0.2)
    with pytest.raises(WorkspaceLockedError, match="serve"):
        acquire_fenced_lock(path, "next")
    assert process.poll() is None
    assert is_running(child)


def test_own_process_is_never_killed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_fencing, "RELEASE_SECONDS", 0.0)
    monkeypatch.setattr(lock_fencing, "FENCING_SECONDS", 0.2)
    with WorkspaceLock.acquire(path, "first"), pytest.raises(WorkspaceLockedError, match="first"):
        acquire_fenced_lock(path, "second")
