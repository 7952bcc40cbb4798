"""The few things storage does to a disk, in one place: what is durable and what is private is decided here."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from sealyard.model.errors import StorageError
from sealyard.model.safe_text import escape_text

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

# macOS has no fdatasync.
_datasync = getattr(os, "fdatasync", os.fsync)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Writes all of ``data``; on an error some of it may be in the file."""
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def sync(fd: int) -> None:
    """Returns when content and length of the file are on the disk."""
    _datasync(fd)


def truncate(fd: int, length: int) -> None:
    """Shortens the file to ``length`` bytes."""
    os.ftruncate(fd, length)


def rename(source: Path, target: Path) -> None:
    """Gives ``source`` the name ``target`` at once; durable after :func:`sync_folder`."""
    source.replace(target)


def sync_folder(folder: Path) -> None:
    """Returns when the names in ``folder`` are on the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def create_private_file(path: Path) -> int:
    """A new empty file (mode 0600) open for reading and appending; an old one of that name is emptied."""
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC, 0o600)


def remove_quietly(path: Path) -> None:
    """Removes a file that is not needed any more; one that cannot be removed now is left for the next time."""
    with suppress(OSError):
        path.unlink()


def make_private_dir(folder: Path) -> None:
    """Makes ``folder`` and the missing ones above it, for the owner alone (mode 0700)."""
    for missing in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
        sync_folder(missing.parent)


def storage_error(error: OSError, what: str) -> StorageError:
    """The disk's refusal in words; ``what`` is what could not be done ("the change", "the input")."""
    reason = escape_text(error.strerror or str(error))
    if error.errno in _NO_SPACE:
        return StorageError(f"The disk has no room for {what} ({reason}).", "Free some space and try again.")
    return StorageError(
        f"The disk refused {what} ({reason}).", "See that the workspace's disk is there, writable and healthy."
    )
