"""File locks between processes (``flock``). The kernel releases a lock when the process that holds it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Try to lock an open file without waiting, and return whether this process now holds the lock.

    Closing the descriptor releases the lock. Raises ``OSError`` if the file system does not support locks.
    """
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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
