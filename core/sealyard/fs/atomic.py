"""Durable writes: files that appear complete or not at all, and the file operations they consist of."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from sealyard.model.errors import StorageError
from sealyard.model.safe_text import escape_text

_NO_SPACE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_LINKS_ERRNOS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}

# Python on macOS does not provide fdatasync.
_datasync = getattr(os, "fdatasync", os.fsync)


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600, overwrite: bool = True) -> None:
    """Write a file that contains ``data``, atomically and durably. After a crash, it has its old or its new content.

    Raises ``OSError`` if that fails, and ``FileExistsError`` if ``path`` exists and ``overwrite`` is not set. The old
    file is then unchanged, and no temporary file is left. Only if the last step fails, the sync of the folder, the new
    file is in place, but may not survive a power loss.
    """
    with AtomicFile(path, mode=mode) as file:
        file.write(data)
        file.commit(overwrite=overwrite)


class AtomicFile:
    """A new file with a temporary name in the folder of ``path``; :meth:`commit` gives it its final name.

    Used as a context manager, it is removed at the end of the block unless it was committed. The constructor and all
    methods except :meth:`discard` raise ``OSError``.
    """

    def __init__(self, path: Path, *, mode: int = 0o600) -> None:
        self._path = path
        self._temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
        self._fd = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        self._is_open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def write(self, data: bytes) -> None:
        """Append all of ``data``."""
        write_all(self._fd, data)

    def commit(self, *, overwrite: bool) -> int:
        """Rename the file to its final name and return its size in bytes; durable on return.

        Raises ``FileExistsError`` if the name exists and ``overwrite`` is not set.
        """
        sync(self._fd)
        size = os.fstat(self._fd).st_size
        if overwrite:
            rename(self._temporary, self._path)
        else:
            rename_exclusive(self._temporary, self._path)
        self._close()
        sync_folder(self._path.parent)
        return size

    def discard(self) -> None:
        """Close and remove the file. Does nothing after :meth:`commit` has renamed it."""
        if self._is_open:
            self._close()
            remove_quietly(self._temporary)

    def _close(self) -> None:
        self._is_open = False
        # All data is synced before the file gets its name, so an error here cannot concern it.
        with suppress(OSError):
            os.close(self._fd)


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


def rename_exclusive(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``, but raise ``FileExistsError`` if ``target`` exists, even if it is new.

    The new name is durable after :func:`sync_folder`.
    """
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS_ERRNOS:
            raise
    else:
        source.unlink()
        return
    # The file system has no hard links, so reserve the name with an empty file before the rename.
    os.close(os.open(target, os.O_CREAT | os.O_EXCL, 0o600))
    try:
        rename(source, target)
    except OSError:
        remove_quietly(target)
        raise


def sync_folder(folder: Path) -> None:
    """Sync the directory ``folder``. Returns when the names in it are on disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def open_empty_file(path: Path) -> int:
    """Create an empty file (mode 0600) and open it for reading and appending. Truncates an existing file."""
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC, 0o600)


def remove_quietly(path: Path) -> None:
    """Remove a file that is no longer needed. Ignores errors: the next cleanup removes the file."""
    with suppress(OSError):
        path.unlink()


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
