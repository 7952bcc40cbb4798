"""The folder of a task on disk, which only one worker at a time can lock."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO

from sealyard.fs import atomic
from sealyard.fs.locks import try_lock
from sealyard.fs.regular_file import create_regular, open_directory, open_regular
from sealyard.model.errors import WorkerError

LOCK_TIMEOUT = 10.0  # seconds
POLL_SECONDS = 0.05


class WorkFolder:
    """Opens files in the folder of one task, relative to the folder and never through a link.

    Its methods raise :class:`IntegrityError` for the files that :func:`sealyard.fs.regular_file.open_regular` rejects.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def create(self, name: str) -> BinaryIO:
        """Create a file. A file of this name from an earlier attempt is deleted first. The new name is durable."""
        if self.has(name):
            os.close(open_regular(name, dir_fd=self._fd))
            os.unlink(name, dir_fd=self._fd)
        file = os.fdopen(create_regular(name, dir_fd=self._fd), "r+b")
        try:
            os.fsync(self._fd)
        except OSError:
            file.close()
            raise
        return file

    def read(self, name: str) -> BinaryIO:
        return os.fdopen(open_regular(name, dir_fd=self._fd), "rb")

    def write(self, name: str) -> BinaryIO:
        """Open an existing file for reading and writing."""
        return os.fdopen(open_regular(name, os.O_RDWR, dir_fd=self._fd), "r+b")

    def has(self, name: str) -> bool:
        """Return whether the name exists, even if it is not a file that can be opened."""
        try:
            os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True


@asynccontextmanager
async def lock_folder(folder: Path) -> AsyncIterator[WorkFolder]:
    """Lock the folder of a task and yield it. Wait if another worker, whose engine has just died, still holds the lock.

    Raises :class:`WorkerError` if the other worker does not release the lock within :data:`LOCK_TIMEOUT` seconds, and
    :class:`IntegrityError` if the folder or its lock file was replaced by a link.
    """
    fd = open_directory(folder)
    try:
        lock_fd = _open_lock(fd)
        try:
            await _acquire_lock(lock_fd)
            yield WorkFolder(fd)
        finally:
            os.close(lock_fd)
    finally:
        os.close(fd)


def _open_lock(folder_fd: int) -> int:
    try:
        return create_regular("lock", dir_fd=folder_fd)
    except FileExistsError:
        return open_regular("lock", os.O_RDWR, dir_fd=folder_fd)


async def _acquire_lock(lock_fd: int) -> None:
    deadline = asyncio.get_running_loop().time() + LOCK_TIMEOUT
    while not try_lock(lock_fd):
        if asyncio.get_running_loop().time() > deadline:
            raise WorkerError(
                "Another worker is still using this task's files.", "Stop the remaining sealyard.worker process."
            )
        await asyncio.sleep(POLL_SECONDS)


FSYNC_INTERVAL = 0.1  # seconds


@contextmanager
def background_fsync(file: BinaryIO) -> Iterator[None]:
    """Sync the file repeatedly in a thread while the caller writes to it.

    The disk thus works in parallel with encryption and hashing. The caller must still sync the last writes. Raises the
    ``OSError`` of a failed sync at the end: the system reports the error only once, so a later sync would succeed.
    """
    stop_event = threading.Event()
    errors: list[OSError] = []

    def sync_repeatedly() -> None:
        while not stop_event.wait(FSYNC_INTERVAL) and not errors:
            try:
                atomic.sync(file.fileno())
            except OSError as error:
                errors.append(error)

    thread = threading.Thread(target=sync_repeatedly, name="background-fsync", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop_event.set()
        thread.join()
    if errors:
        raise errors[0]
