"""A text file that appears with its full content or not at all, readable by the user only."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from sealyard.client.downloads.files import rename_exclusive
from sealyard.model.errors import InvalidInputError, StorageError
from sealyard.model.safe_text import escape_text


class AtomicTextFile:
    """Written with mode 0600. All methods block; they raise :class:`InvalidInputError` and :class:`StorageError`."""

    def __init__(self, path: Path) -> None:
        """``path`` is the final path; a temporary file beside it is written first."""
        self._path = path
        self._part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        try:
            descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise InvalidInputError(
                f"{escape_text(str(path))} cannot be written: {escape_text(error.strerror or str(error))}.",
                "Name a file in a folder of yours.",
            ) from error
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", newline="")

    def write(self, text: str) -> None:
        try:
            self._file.write(text)
        except OSError as error:
            raise self._failed(error) from error

    def commit(self, *, replace: bool) -> int:
        """Move the file to its path, durably. Returns its size. Without ``replace`` an existing file is kept."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            size = os.fstat(self._file.fileno()).st_size
            self._file.close()
            if replace:
                self._part.replace(self._path)
            else:
                rename_exclusive(self._part, self._path)
        except FileExistsError as error:
            raise InvalidInputError(
                f"{escape_text(str(self._path))} is there already.", "Choose another name."
            ) from error
        except OSError as error:
            raise self._failed(error) from error
        return size

    def discard(self) -> None:
        """Delete the temporary file; does nothing after :meth:`commit`."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._part.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> StorageError:
        reason = escape_text(error.strerror or str(error))
        return StorageError(
            f"{escape_text(str(self._path))} cannot be written: {reason}.", "Make room, or go elsewhere."
        )
