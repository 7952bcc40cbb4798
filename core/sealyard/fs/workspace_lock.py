"""The lock that allows only one writer per workspace, with a description of the lock holder.

The kernel releases the lock when the process that holds it ends.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from sealyard.fs import atomic
from sealyard.fs.locks import try_lock, wait_for_stale_lock
from sealyard.model.base import JSON_ERRORS, FrozenStruct
from sealyard.model.errors import WorkspaceLockedError, WorkspaceReadOnlyError
from sealyard.model.formatting import format_time
from sealyard.model.safe_text import escape_text

_READ_ONLY_ERRNOS = {errno.EROFS, errno.EACCES, errno.EPERM}


class LockHolder(FrozenStruct, frozen=True, kw_only=True):
    """The process that holds the lock, when it acquired the lock, and for which purpose."""

    pid: int
    host: str
    command: str
    purpose: str
    since: datetime


class WorkspaceLock:
    """An ``flock`` on a file that is never removed. The content of the file only describes the lock holder to users.

    The description of a process that has ended does not prevent locking. A process started by the lock holder does not
    inherit the lock.
    """

    def __init__(self, fd: int) -> None:
        """Wrap a locked descriptor. Use :meth:`acquire` instead."""
        self._fd: int | None = fd

    @classmethod
    def acquire(cls, path: Path, purpose: str) -> Self:
        """Acquire the lock, without waiting for a running lock holder.

        Waits at most :data:`sealyard.fs.locks.STALE_LOCK_TIMEOUT` seconds if the lock holder has ended or is unknown.
        ``purpose`` is shown to other processes. Raises :class:`WorkspaceLockedError`, which names the lock holder, if
        the lock cannot be acquired, :class:`WorkspaceReadOnlyError` if this process may not write to the workspace, and
        :class:`StorageError` if the lock file cannot be written for another reason.
        """
        fd = _open_lock_file(path)
        try:
            _acquire_flock(fd)
            _write_holder(fd, purpose)
        except WorkspaceLockedError:
            os.close(fd)
            raise
        except OSError as error:
            os.close(fd)
            raise atomic.storage_error(error, "locking the workspace") from error
        return cls(fd)

    @staticmethod
    def require_writable(path: Path) -> None:
        """Check that the lock file can be written, without locking it. Raises the errors of :meth:`acquire` if not."""
        os.close(_open_lock_file(path))

    @staticmethod
    def holder(path: Path) -> LockHolder | None:
        """Return the current lock holder, for display.

        Returns ``None`` if the workspace is not locked or the lock holder is unknown.
        """
        try:
            fd = os.open(path, os.O_RDWR)
        except OSError:
            return None
        try:
            return None if try_lock(fd, shared=True) else _read_holder(fd)
        except OSError:
            return None
        finally:
            os.close(fd)

    def release(self) -> None:
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        os.ftruncate(fd, 0)
        os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def _open_lock_file(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        if error.errno in _READ_ONLY_ERRNOS:
            raise WorkspaceReadOnlyError(
                f"The workspace cannot be changed ({error.strerror}).",
                "Make its disk and folder writable; reading and downloads work without.",
            ) from error
        raise atomic.storage_error(error, "locking the workspace") from error


def _acquire_flock(fd: int) -> None:
    # The holder may have ended, or holder() may have locked the file for a moment to test it.
    if not wait_for_stale_lock(fd, lambda: _is_alive(_read_holder(fd))):
        raise lock_error(_read_holder(fd))


def _is_alive(holder: LockHolder | None) -> bool:
    """Return whether the lock holder is known and running. A process on another machine counts as running."""
    if holder is None or holder.host != socket.gethostname():
        return holder is not None
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _write_holder(fd: int, purpose: str) -> None:
    holder = LockHolder(
        pid=os.getpid(),
        host=socket.gethostname(),
        command=Path(sys.argv[0]).name,
        purpose=purpose,
        since=datetime.now(UTC),
    )
    content = msgspec.json.encode(holder) + b"\n"
    os.ftruncate(fd, 0)
    os.pwrite(fd, content, 0)


def _read_holder(fd: int) -> LockHolder | None:
    try:
        return msgspec.json.decode(os.pread(fd, 65536, 0), type=LockHolder)
    except (OSError, *JSON_ERRORS):
        return None


def lock_error(holder: LockHolder | None) -> WorkspaceLockedError:
    """Return an error that names the lock holder, if it is known."""
    hint = "Wait until it exits, stop it, or open the workspace read-only."
    if holder is None:
        return WorkspaceLockedError("Another process has the workspace locked for writing.", hint)
    return WorkspaceLockedError(
        f"The workspace is locked by process {holder.pid} on {escape_text(holder.host)}"
        f" ({escape_text(holder.command, 60)}: {escape_text(holder.purpose, 120)})"
        f" since {format_time(holder.since)}.",
        hint,
    )
