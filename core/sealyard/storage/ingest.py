"""Takes a person's file in: read once, hashed and copied side by side, and checked not to change meanwhile."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sealyard.model.errors import InputError
from sealyard.model.safe_text import safe_text
from sealyard.model.value import Value
from sealyard.storage import disk

CHUNK = 4 << 20  # bytes

Progress = Callable[[int], None]
"""Told how many more bytes are done; may raise to stop."""


class StoredInput(Value, frozen=True, kw_only=True):
    """Content as it is stored: SHA-256 in lower case hex, and size in bytes."""

    sha256: str
    size: int


class Source:
    """An input file held open, with what it looked like at the beginning."""

    def __init__(self, path: Path) -> None:
        """Raises :class:`InputError` where the file is missing, empty, unreadable or no regular file."""
        self.path = path
        self.name = safe_text(path.name or str(path))
        try:
            # Looked at before it is opened: opening a FIFO waits, opening a device may do something.
            self._check_kind(path.stat())
            self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error
        try:
            self._begin = os.fstat(self.fd)
            self._check_kind(self._begin)
            if not self._begin.st_size:
                raise InputError(f"{self.name} is empty.", "Choose a file with content.")
        except InputError:
            os.close(self.fd)
            raise

    @property
    def size(self) -> int:
        return self._begin.st_size

    def read_into(self, buffer: memoryview) -> int:
        """Bytes read, 0 at the end."""
        try:
            return os.readv(self.fd, [buffer])
        except OSError as error:
            raise self._unreadable(error) from error

    def check_unchanged(self, size_read: int) -> None:
        """Raises :class:`InputError` where the file is gone, another one, or has changed since the beginning."""
        try:
            now = self.path.stat()
        except FileNotFoundError as error:
            raise InputError(f"{self.name} vanished while it was read.", "Put it back and try again.") from error
        except OSError as error:
            raise self._unreadable(error) from error
        before = self._begin
        same = (before.st_dev, before.st_ino, before.st_size, before.st_mtime_ns)
        if size_read != self.size or same != (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns):
            raise InputError(
                f"{self.name} changed while it was read.", "Wait until it is completely written and try again."
            )

    def close(self) -> None:
        os.close(self.fd)

    def _check_kind(self, found: os.stat_result) -> None:
        if stat.S_ISDIR(found.st_mode):
            raise InputError(f"{self.name} is a directory.", "Choose a file.")
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{self.name} is not a regular file.", "Choose a file, not a device or a pipe.")

    def _unreadable(self, error: OSError | ValueError) -> InputError:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return InputError(f"{self.name} is not there.", "Check the name and the folder.")
        if isinstance(error, PermissionError):
            return InputError(f"{self.name} may not be read.", "Ask its owner for the right to read it.")
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return InputError(f"{self.name} cannot be read ({safe_text(reason or '')}).", "Check the file.")


def copy_and_hash(source: Source, target: int, progress: Progress) -> str:
    """Copies ``source`` to the descriptor ``target``; the SHA-256 in hex.

    Two buffers take turns: while one is hashed, it is written too and the other one is filled. Raises
    :class:`InputError` for the source, ``OSError`` for the target, and whatever ``progress`` raises.
    """
    digest = hashlib.sha256()
    size = min(CHUNK, source.size)
    buffers = [memoryview(bytearray(size)), memoryview(bytearray(size))]
    done = 0
    with ThreadPoolExecutor(1, thread_name_prefix="sealyard-hash") as hasher:
        hashed = hasher.submit(digest.update, b"")
        while length := source.read_into(buffers[0]):
            hashed.result()
            chunk = buffers[0][:length]
            hashed = hasher.submit(digest.update, chunk)
            disk.write_all(target, chunk)
            done += length
            progress(length)
            buffers.reverse()
        hashed.result()
    source.check_unchanged(done)
    return digest.hexdigest()
