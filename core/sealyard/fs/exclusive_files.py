"""Create a set of files in a directory, all or none, without replacing existing files."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from sealyard.fs.atomic import rename_exclusive
from sealyard.model.errors import InvalidInputError, StorageError
from sealyard.model.safe_text import escape_text


class ExclusiveFileSet:
    """Context manager that creates files (mode 0600) under temporary names; :meth:`commit` renames them.

    ``names`` are the final names. Leaving the context removes all files that were not committed. Raises
    :class:`InvalidInputError` if one of the names already exists, and :class:`StorageError` if ``folder`` cannot be
    written.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder
        self._names = names
        self._temporary_paths: list[Path] = []
        self._suffix = f".{secrets.token_hex(8)}.part"

    def __enter__(self) -> Self:
        for name in self._names:
            if os.path.lexists(self._folder / name):
                raise _already_exists_error(name)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for path in self._temporary_paths:
            path.unlink(missing_ok=True)

    def create(self, name: str) -> BinaryIO:
        """Create the temporary file for the final name ``name``, and open it for writing."""
        path = self._temporary_path(name)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise StorageError(f"Cannot write to the folder: {error.strerror}.", "Choose another folder.") from error
        self._temporary_paths.append(path)
        return os.fdopen(fd, "wb", buffering=0)

    def commit(self) -> tuple[Path, ...]:
        """Rename the files to their final names and return their paths.

        A file that another process has created in the meantime is never replaced. If one file cannot be renamed, the
        files that already have their final names are removed.
        """
        final_paths: list[Path] = []
        try:
            for name in self._names:
                rename_exclusive(self._temporary_path(name), self._folder / name)
                final_paths.append(self._folder / name)
        except OSError as error:
            for path in final_paths:
                path.unlink(missing_ok=True)
            if isinstance(error, FileExistsError):
                raise _already_exists_error(name) from error
            raise StorageError(f"Cannot write {name}: {error.strerror}.", "Choose another folder.") from error
        return tuple(final_paths)

    def _temporary_path(self, name: str) -> Path:
        return self._folder / f".{self._names.index(name)}{self._suffix}"


def _already_exists_error(name: str) -> InvalidInputError:
    return InvalidInputError(f"{escape_text(name)} already exists.", "Choose an empty folder, or remove the file.")
