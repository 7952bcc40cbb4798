"""Acquire a workspace lock from a process that has lost the lease of the workspace but still holds the lock."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from sealyard.fs.workspace_lock import LockHolder, WorkspaceLock
from sealyard.model.errors import WorkspaceLockedError

RELEASE_SECONDS = 0.5
"""How long a process on this machine may take to release the lock before it is killed."""

FENCING_SECONDS = 5.0
"""How long to wait for the lock in all, for example for a process on another machine."""

POLL_SECONDS = 0.05


def acquire_fenced_lock(path: Path, purpose: str) -> WorkspaceLock:
    """Acquire the workspace lock, which only a process without the lease can still hold.

    A process on this machine that does not release the lock, because it is suspended or hangs, is killed, with all
    processes that it has started. Raises :class:`WorkspaceLockedError` if the lock is not released within
    :data:`FENCING_SECONDS`, and the other errors of :meth:`~sealyard.fs.workspace_lock.WorkspaceLock.acquire`.
    """
    began_at = time.monotonic()
    has_killed = False
    while True:
        try:
            return WorkspaceLock.acquire(path, purpose)
        except WorkspaceLockedError:
            waited_seconds = time.monotonic() - began_at
            if waited_seconds > FENCING_SECONDS:
                raise
        if waited_seconds > RELEASE_SECONDS and not has_killed:
            has_killed = _kill_holder(path, WorkspaceLock.holder(path))
        time.sleep(POLL_SECONDS)


def _kill_holder(path: Path, holder: LockHolder | None) -> bool:
    """Kill the lock holder if it is another process on this machine. Returns whether it was killed."""
    if holder is None or holder.host != socket.gethostname() or holder.pid == os.getpid():
        return False
    with ExitStack() as stack, suppress(OSError):
        process_fd = _open_process(holder.pid, stack)
        # With the process open, its number cannot be assigned to another one. Only now is it known to hold the lock.
        if not _holds_lock(holder.pid, path):
            return False
        descendant_fds = [_open_process(pid, stack) for pid in _find_descendants(holder.pid)]
        for fd in (process_fd, *descendant_fds):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        return True
    return False


def _open_process(pid: int, stack: ExitStack) -> int:
    fd = os.pidfd_open(pid)
    stack.callback(os.close, fd)
    return fd


def _holds_lock(pid: int, path: Path) -> bool:
    """Return whether the process holds an exclusive ``flock`` on the file, according to ``/proc/locks``."""
    inode = path.stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1:4:2] == ["FLOCK", "WRITE"] and int(fields[4]) == pid and fields[5].endswith(f":{inode}"):
            return True
    return False


def _find_descendants(pid: int) -> list[int]:
    """Return the processes that the process has started, and those that they have started."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (parent := _read_parent(folder)) is not None:
            children.setdefault(parent, []).append(int(folder.name))
    descendants: list[int] = []
    parents = [pid]
    while parents:
        found = children.get(parents.pop(), [])
        descendants += found
        parents += found
    return descendants


def _read_parent(folder: Path) -> int | None:
    """Return the parent of a process according to proc(5); None if the process has ended."""
    try:
        # The name of the program, in parentheses, can contain spaces and parentheses.
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None
