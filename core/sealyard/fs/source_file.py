"""Read a file that a user uploads, and check that it does not change while it is being read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sealyard.model.errors import InputMismatchError, InvalidInputError
from sealyard.model.safe_text import escape_text


class SourceFile:
    """An open input file, with the status it had when it was opened."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raises :class:`InvalidInputError` if it is missing, empty, unreadable or not regular."""
        self.path = path
        self.name = escape_text(path.name or str(path))
        try:
            # Check the file type before opening: opening a FIFO blocks, and opening a device can have side effects.
            self._check_type(path.stat())
            self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            raise self._read_error(error) from error
        try:
            self._opened_status = os.fstat(self.fd)
            self._check_type(self._opened_status)
            if not self._opened_status.st_size:
                raise InvalidInputError(f"{self.name} is empty.", "Choose a file with content.")
        except InvalidInputError:
            os.close(self.fd)
            raise

    @property
    def size(self) -> int:
        return self._opened_status.st_size

    def seek(self, offset: int) -> None:
        """Set the position of the next read to ``offset``, in bytes from the start of the file."""
        os.lseek(self.fd, offset, os.SEEK_SET)

    def read_into(self, buffer: memoryview) -> int:
        """Read into ``buffer`` and return the number of bytes, 0 at the end of the file.

        Raises :class:`InvalidInputError` if the file cannot be read.
        """
        try:
            return os.readv(self.fd, [buffer])
        except OSError as error:
            raise self._read_error(error) from error

    def check_unmodified(self, size_read: int) -> None:
        """Raise :class:`InputMismatchError` if the file was removed, replaced or modified since it was opened.

        ``size_read`` is the number of bytes the caller has read; it must be the size of the file.
        """
        try:
            current_status = self.path.stat()
        except FileNotFoundError as error:
            raise InputMismatchError(
                f"{self.name} was removed while it was read.", "Restore the file and try again."
            ) from error
        except OSError as error:
            raise self._read_error(error) from error
        opened_status = self._opened_status
        opened_identity = (opened_status.st_dev, opened_status.st_ino, opened_status.st_size, opened_status.st_mtime_ns)
        if size_read != self.size or opened_identity != (
            current_status.st_dev,
            current_status.st_ino,
            current_status.st_size,
            current_status.st_mtime_ns,
        ):
            raise InputMismatchError(
                f"{self.name} changed while it was read.", "Wait until the file is complete and try again."
            )

    def close(self) -> None:
        os.close(self.fd)

    def _check_type(self, status: os.stat_result) -> None:
        if stat.S_ISDIR(status.st_mode):
            raise InvalidInputError(f"{self.name} is a directory.", "Choose a file.")
        if not stat.S_ISREG(status.st_mode):
            raise InvalidInputError(f"{self.name} is not a regular file.", "Choose a file, not a device or a pipe.")

    def _read_error(self, error: OSError | ValueError) -> InvalidInputError:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return InvalidInputError(f"{self.name} not found.", "Check the name and the folder.")
        if isinstance(error, PermissionError):
            return InvalidInputError(
                f"You do not have permission to read {self.name}.", "Ask its owner for read permission."
            )
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return InvalidInputError(f"Cannot read {self.name} ({escape_text(reason or '')}).", "Check the file.")


def verify_digest(name: str, sha256: str, expected_sha256: str | None) -> None:
    """Raise :class:`InputMismatchError` if ``expected_sha256`` (hex) is given and differs from ``sha256``.

    ``name`` is the name of the file in the error message.
    """
    if expected_sha256 is not None and sha256 != expected_sha256.lower():
        raise InputMismatchError(
            f"SHA-256 mismatch for {name}: expected {escape_text(expected_sha256, 80)}, got {sha256}.",
            "Check the file or the expected digest.",
        )


def to_utf8_name(name: str) -> str:
    """Return a file name with undecodable bytes escaped, so that it can be encoded as JSON."""
    return name.encode("utf-8", "backslashreplace").decode()
