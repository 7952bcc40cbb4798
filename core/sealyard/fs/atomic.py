"""Basic file operations of the storage layer. Durability and file permissions are decided here."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from sealyard.model.errors import StorageError
from sealyard.model.safe_text import escape_text

_NO_SPACE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

# Python on macOS does not provide fdatasync.
_datasync = getattr(os, "fdatasync", os.fsync)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of ``data``. If it raises, part of ``data`` may be in the file."""
    remaining = memoryview(data)
    while remaining:
        remaining = remaining[os.write(fd, remaining) :]


def sync(fd: int) -> None:
    """Sync the file. Returns when its content and length are on disk."""
    _datasync(fd)


def truncate(fd: int, length: int) -> None:
    """Truncate the file to ``length`` bytes."""
    os.ftruncate(fd, length)


def rename(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target`` atomically. The new name is durable after :func:`sync_folder`."""
    source.replace(target)


def sync_folder(folder: Path) -> None:
    """Sync the directory ``folder``. Returns when the names in it are on disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def create_private_file(path: Path) -> int:
    """Create an empty file (mode 0600) and open it for reading and appending. Truncates an existing file."""
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC, 0o600)


def remove_quietly(path: Path) -> None:
    """Remove a file that is no longer needed. Ignores errors: the next cleanup removes the file."""
    with suppress(OSError):
        path.unlink()


def make_private_dir(folder: Path) -> None:
    """Create ``folder`` and its missing parents with mode 0700, durably."""
    for directory in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        directory.mkdir(mode=0o700, exist_ok=True)
        sync_folder(directory.parent)


def storage_error(error: OSError, operation: str) -> StorageError:
    """Return a :class:`StorageError` for ``error``.

    ``operation`` is a noun phrase that describes what failed ("writing the change", "opening the store").
    """
    reason = escape_text(error.strerror or str(error))
    if error.errno in _NO_SPACE_ERRNOS:
        return StorageError(f"Not enough disk space for {operation} ({reason}).", "Free some space and try again.")
    return StorageError(
        f"Disk error while {operation} ({reason}).", "Check that the workspace's disk is mounted, writable and healthy."
    )
