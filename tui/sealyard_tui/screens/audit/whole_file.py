"""A file that appears whole under its name or not at all, and that only this person can read."""

from __future__ import annotations

from pathlib import Path

from sealyard.fs.atomic import AtomicFile
from sealyard.model.errors import InvalidInputError, StorageError
from sealyard.model.safe_text import escape_text


class AtomicTextFile:
    """Mode 0600. All methods block; they raise :class:`InvalidInputError` and :class:`StorageError`."""

    def __init__(self, path: Path) -> None:
        """``path``: where it is to be. It is written beside that."""
        self._path = path
        try:
            self._file = AtomicFile(path)
        except OSError as error:
            raise InvalidInputError(
                f"{escape_text(str(path))} cannot be written: {escape_text(error.strerror or str(error))}.",
                "Name a file in a folder of yours.",
            ) from error

    def write(self, text: str) -> None:
        try:
            self._file.write(text.encode())
        except OSError as error:
            raise self._failed(error) from error

    def place(self, *, replace: bool) -> int:
        """Gives it its name, durably; its size in bytes. Without ``replace`` a file that is there stays."""
        try:
            return self._file.commit(overwrite=replace)
        except FileExistsError as error:
            raise InvalidInputError(
                f"{escape_text(str(self._path))} is there already.", "Choose another name."
            ) from error
        except OSError as error:
            raise self._failed(error) from error

    def discard(self) -> None:
        """Nothing of it stays; does nothing after :meth:`place`."""
        self._file.discard()

    def _failed(self, error: OSError) -> StorageError:
        reason = escape_text(error.strerror or str(error))
        return StorageError(
            f"{escape_text(str(self._path))} cannot be written: {reason}.", "Make room, or go elsewhere."
        )
