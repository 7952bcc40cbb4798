"""A task's folder on disk, locked by one worker at a time."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO

from sealyard.fs.regular import create_regular, open_directory, open_regular
from sealyard.model.errors import WorkerError

LOCK_TIMEOUT = 10.0
POLL_SECONDS = 0.05


class WorkFolder:
    """Opens the files of one task's folder: relative to the folder, and never through a link.

    What :func:`sealyard.fs.regular.open_regular` refuses raises :class:`IntegrityError` here too.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def create(self, name: str) -> BinaryIO:
        """Create a file; one that an earlier attempt left under this name is removed first."""
        if self.has(name):
            os.close(open_regular(name, dir_fd=self._fd))
            os.unlink(name, dir_fd=self._fd)
        return os.fdopen(create_regular(name, dir_fd=self._fd), "r+b")

    def read(self, name: str) -> BinaryIO:
        return os.fdopen(open_regular(name, dir_fd=self._fd), "rb")

    def write(self, name: str) -> BinaryIO:
        """Open an existing file for reading and writing."""
        return os.fdopen(open_regular(name, os.O_RDWR, dir_fd=self._fd), "r+b")

    def has(self, name: str) -> bool:
        """Whether something has this name, even if it is no file that could be opened."""
        try:
            os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True


@asynccontextmanager
async def locked(folder: Path) -> AsyncIterator[WorkFolder]:
    """Lock the folder of a task. A worker of an engine that has just died may hold it for a moment longer.

    Raises :class:`WorkerError` if the other worker does not release it, :class:`IntegrityError` if the folder or its
    lock file was replaced by a link.
    """
    fd = open_directory(folder)
    try:
        lock = _open_lock(fd)
        try:
            await _acquire(lock)
            yield WorkFolder(fd)
        finally:
            os.close(lock)
    finally:
        os.close(fd)


def _open_lock(folder: int) -> int:
    try:
        return create_regular("lock", dir_fd=folder)
    except FileExistsError:
        return open_regular("lock", os.O_RDWR, dir_fd=folder)


async def _acquire(lock: int) -> None:
    deadline = asyncio.get_running_loop().time() + LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if asyncio.get_running_loop().time() > deadline:
                raise WorkerError(
                    "Another worker still holds this task's files.", "End the stray sealyard.worker process."
                ) from None
            await asyncio.sleep(POLL_SECONDS)
        else:
            return


FSYNC_INTERVAL = 0.1


@contextmanager
def background_fsync(file: BinaryIO) -> Iterator[None]:
    """Has the system write what is there so far, over and over, beside whoever writes on.

    The disk works while ciphers and digests do. What is still missing, the caller syncs. Raises the
    :class:`OSError` of a sync that failed: the system tells of it once, a later sync would know nothing of it.
    """
    ended = threading.Event()
    failed: list[OSError] = []

    def write() -> None:
        while not ended.wait(FSYNC_INTERVAL) and not failed:
            try:
                os.fdatasync(file.fileno())
            except OSError as error:
                failed.append(error)

    writing = threading.Thread(target=write, name="written-early", daemon=True)
    writing.start()
    try:
        yield
    finally:
        ended.set()
        writing.join()
    if failed:
        raise failed[0]
