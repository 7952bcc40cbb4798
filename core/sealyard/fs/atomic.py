"""Durable file writes that take effect completely or not at all, and the file operations that they are built from."""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from sealyard.model.errors import DiskFullError, StorageError
from sealyard.model.safe_text import escape_text

_NO_SPACE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_LINKS_ERRNOS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}

_TEMPORARY_NAME = re.compile(r"\.[0-9a-f]{16}\.tmp")
_STALE_SECONDS = 60.0
_WRITE_CHUNK_SIZE = 1 << 20

# Python on macOS does not provide fdatasync.
_datasync = getattr(os, "fdatasync", os.fsync)


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600, overwrite: bool = True) -> None:
    """Write ``data`` to the file ``path``, atomically and durably.

    After a crash, the file has either its old or its new content. Raises ``OSError`` if writing fails, and
    ``FileExistsError`` if ``path`` exists and ``overwrite`` is not set; the old file is then unchanged, and no
    temporary file is left. There is one exception: if only the final sync of the folder fails, the new file is in
    place, but may not survive a power loss.
    """
    with AtomicFile(path, mode=mode) as file:
        file.write(data)
        file.commit(overwrite=overwrite)


class AtomicFile:
    """A new file with a temporary name in the folder of ``path``; :meth:`commit` gives it its final name.

    As a context manager, it removes the file at the end of the block unless the file was committed. The constructor and
    all methods except :meth:`discard` raise ``OSError`` if an operation on the file fails.
    """

    def __init__(self, path: Path, *, mode: int = 0o600) -> None:
        self._path = path
        self._temporary_path = path.with_name(f".{secrets.token_hex(8)}.tmp")
        self._fd = os.open(self._temporary_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        self._is_open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.discard()

    def write(self, data: bytes) -> None:
        """Append all of ``data`` to the file."""
        write_all(self._fd, data)

    def commit(self, *, overwrite: bool) -> int:
        """Durably rename the file to its final name, and return its size in bytes.

        Raises ``FileExistsError`` if the name exists and ``overwrite`` is not set.
        """
        sync(self._fd)
        size = os.fstat(self._fd).st_size
        if overwrite:
            rename(self._temporary_path, self._path)
        else:
            rename_exclusive(self._temporary_path, self._path)
        self._close()
        sync_folder(self._path.parent)
        return size

    def discard(self) -> None:
        """Close and remove the file. Does nothing after :meth:`commit` has renamed it."""
        if self._is_open:
            self._close()
            remove_quietly(self._temporary_path)

    def _close(self) -> None:
        self._is_open = False
        # commit() has already synced all data, so an error on closing cannot mean that data is lost.
        with suppress(OSError):
            os.close(self._fd)


def remove_stale_files(folders: Iterable[Path]) -> None:
    """Remove the files of :class:`AtomicFile` that killed processes left in ``folders``. Ignores errors.

    A file that was modified within the last minute is kept, because a running process may be writing it.
    """
    cutoff = time.time() - _STALE_SECONDS
    for folder in folders:
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if _is_stale(entry, cutoff):
                    remove_quietly(Path(entry.path))


def _is_stale(entry: os.DirEntry[str], cutoff: float) -> bool:
    return (
        _TEMPORARY_NAME.fullmatch(entry.name) is not None
        and entry.is_file(follow_symlinks=False)
        and entry.stat(follow_symlinks=False).st_mtime < cutoff
    )


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of ``data``. If this raises ``OSError``, part of ``data`` may be in the file."""
    remaining_data = memoryview(data)
    while remaining_data:
        remaining_data = remaining_data[os.write(fd, remaining_data) :]


def sync(fd: int) -> None:
    """Sync the open file ``fd``. Returns when its content and length are on disk."""
    _datasync(fd)


def truncate(fd: int, length: int) -> None:
    """Truncate the open file ``fd`` to ``length`` bytes."""
    os.ftruncate(fd, length)


def rename(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target`` atomically. The new name is durable after :func:`sync_folder`."""
    source.replace(target)


def rename_exclusive(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target`` without replacing an existing file.

    Raises ``FileExistsError`` if ``target`` exists, even if another process creates it at the same time. The new name
    is durable after :func:`sync_folder`.
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


def write_synced(path: Path, parts: Iterable[bytes]) -> None:
    """Create or truncate a file (mode 0600), write ``parts``, and sync it. Its name is durable after sync_folder."""
    fd = open_empty_file(path)
    try:
        buffer = bytearray()
        for part in parts:
            buffer += part
            if len(buffer) >= _WRITE_CHUNK_SIZE:
                write_all(fd, bytes(buffer))
                buffer.clear()
        write_all(fd, bytes(buffer))
        sync(fd)
    finally:
        os.close(fd)


def remove_quietly(path: Path) -> None:
    """Remove a file that is no longer needed. Ignores errors: the next cleanup removes the file."""
    with suppress(OSError):
        path.unlink()


def is_disk_full(error: OSError) -> bool:
    """Return whether an operation failed because the disk is full or a quota or limit is reached."""
    return error.errno in _NO_SPACE_ERRNOS


def storage_error(error: OSError, operation: str) -> StorageError:
    """Return a :class:`StorageError` for ``error``; a :class:`DiskFullError` if the disk is full.

    ``operation`` is a noun phrase that describes what failed ("writing the change", "opening the store").
    """
    reason = escape_text(error.strerror or str(error))
    if is_disk_full(error):
        return DiskFullError(f"Not enough disk space for {operation} ({reason}).", "Free some space and try again.")
    return StorageError(
        f"Disk error while {operation} ({reason}).", "Check that the disk is mounted, writable and healthy."
    )
