"""A text file that appears with its full content or not at all, readable by the user only."""

from __future__ import annotations

from pathlib import Path

from sealyard.fs.atomic import AtomicFile
from sealyard.model.errors import InvalidInputError, StorageError
from sealyard.model.safe_text import escape_text


class AtomicTextFile:
    """Written with mode 0600. All methods block; they raise :class:`InvalidInputError` and :class:`StorageError`."""

    def __init__(self, path: Path) -> None:
        """``path`` is the final path; a temporary file beside it is written first."""
        self._path = path
        try:
            self._file = AtomicFile(path)
        except OSError as error:
            raise InvalidInputError(
                f"{escape_text(str(path))} cannot be written: {escape_text(error.strerror or str(error))}.",
                "Choose a file in a folder you can write to.",
            ) from error

    def write(self, text: str) -> None:
        try:
            self._file.write(text.encode())
        except OSError as error:
            raise self._failed(error) from error

    def commit(self, *, replace: bool) -> int:
        """Move the file to its path, durably. Returns its size. Without ``replace`` an existing file is kept."""
        try:
            return self._file.commit(overwrite=replace)
        except FileExistsError as error:
            raise InvalidInputError(
                f"{escape_text(str(self._path))} already exists.", "Choose another name."
            ) from error
        except OSError as error:
            raise self._failed(error) from error

    def discard(self) -> None:
        """Delete the temporary file; does nothing after :meth:`commit`."""
        self._file.discard()

    def _failed(self, error: OSError) -> StorageError:
        reason = escape_text(error.strerror or str(error))
        return StorageError(
            f"{escape_text(str(self._path))} cannot be written: {reason}.",
            "Free some disk space or choose another folder.",
        )
