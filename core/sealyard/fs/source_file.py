"""A person's file that is handed in: read once, from its beginning, and checked not to change meanwhile."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sealyard.model.errors import InvalidInputError
from sealyard.model.safe_text import escape_text


class SourceFile:
    """An input file held open, with what it looked like at the beginning."""

    def __init__(self, path: Path) -> None:
        """Raises :class:`InvalidInputError` where the file is missing, empty, unreadable or no regular file."""
        self.path = path
        self.name = escape_text(path.name or str(path))
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
                raise InvalidInputError(f"{self.name} is empty.", "Choose a file with content.")
        except InvalidInputError:
            os.close(self.fd)
            raise

    @property
    def size(self) -> int:
        return self._begin.st_size

    def seek(self, offset: int) -> None:
        """The next read begins there."""
        os.lseek(self.fd, offset, os.SEEK_SET)

    def read_into(self, buffer: memoryview) -> int:
        """Bytes read, 0 at the end."""
        try:
            return os.readv(self.fd, [buffer])
        except OSError as error:
            raise self._unreadable(error) from error

    def check_unmodified(self, size_read: int) -> None:
        """Raises :class:`InvalidInputError` where the file is gone, another one, or has changed since the beginning."""
        try:
            now = self.path.stat()
        except FileNotFoundError as error:
            raise InvalidInputError(f"{self.name} vanished while it was read.", "Put it back and try again.") from error
        except OSError as error:
            raise self._unreadable(error) from error
        before = self._begin
        same = (before.st_dev, before.st_ino, before.st_size, before.st_mtime_ns)
        if size_read != self.size or same != (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns):
            raise InvalidInputError(
                f"{self.name} changed while it was read.", "Wait until it is completely written and try again."
            )

    def close(self) -> None:
        os.close(self.fd)

    def _check_kind(self, found: os.stat_result) -> None:
        if stat.S_ISDIR(found.st_mode):
            raise InvalidInputError(f"{self.name} is a directory.", "Choose a file.")
        if not stat.S_ISREG(found.st_mode):
            raise InvalidInputError(f"{self.name} is not a regular file.", "Choose a file, not a device or a pipe.")

    def _unreadable(self, error: OSError | ValueError) -> InvalidInputError:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return InvalidInputError(f"{self.name} is not there.", "Check the name and the folder.")
        if isinstance(error, PermissionError):
            return InvalidInputError(f"{self.name} may not be read.", "Ask its owner for the right to read it.")
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return InvalidInputError(f"{self.name} cannot be read ({escape_text(reason or '')}).", "Check the file.")


def verify_digest(name: str, sha256: str, expected: str | None) -> None:
    """Raises :class:`InvalidInputError` where a digest (hex) is expected and it is another; ``name`` is what was
    read.
    """
    if expected is not None and sha256 != expected.lower():
        raise InvalidInputError(
            f"{name} is not what was expected: its SHA-256 is {sha256}, not {escape_text(expected, 80)}.",
            "Check that it is the right file and that it arrived whole.",
        )
