"""File locks between processes (``flock``). The kernel releases a lock when the process that holds it ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

STALE_LOCK_TIMEOUT = 2.0
"""Seconds to wait for a lock whose holder has ended.

A lock can briefly outlive the process that acquired it, because a child process inherits it between fork and exec.
"""


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Try to lock an open file without waiting, and return whether this process now holds the lock.

    Closing the descriptor releases the lock. Raises ``OSError`` if the file system does not support locks.
    """
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for_stale_lock(fd: int, is_held: Callable[[], bool] = lambda: False) -> bool:
    """Lock an open file, and wait at most :data:`STALE_LOCK_TIMEOUT` seconds for a lock holder that has ended.

    Returns whether this process now holds the lock. Returns False at once if ``is_held`` reports that the lock holder
    is running.
    """
    deadline = time.monotonic() + STALE_LOCK_TIMEOUT
    while not try_lock(fd):
        if is_held() or time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True


@contextmanager
def hold_lock(fd: int) -> Iterator[None]:
    """Lock an open file until the end of the block. Waits for other lock holders. Raises ``OSError`` if this fails."""
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Lock ``path`` until the end of the block. Waits for other lock holders.

    The file (mode 0600) only serves as a lock and is never removed. Raises ``OSError`` if it cannot be opened or
    locked.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
