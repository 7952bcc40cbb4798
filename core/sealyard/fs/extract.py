"""Opened files that appear in a folder all at once or not at all, and never over an existing one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from sealyard.model.errors import InvalidInputError, StorageError
from sealyard.model.safe_text import escape_text

"""Bytes in a file name on the usual file systems."""


class ExclusiveFileSet:
    """Creates files under temporary names (mode 0600); ``keep`` gives them their own.

    Leaving the context removes what was not kept. Raises :class:`InvalidInputError` where a name is taken,
    :class:`StorageError` where the folder cannot be written.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder
        self._names = names
        self._created: list[Path] = []
        self._suffix = f".{secrets.token_hex(8)}.part"

    def __enter__(self) -> Self:
        for name in self._names:
            if os.path.lexists(self._folder / name):
                raise _already_exists(name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for path in self._created:
            path.unlink(missing_ok=True)

    def create(self, name: str) -> BinaryIO:
        path = self._temporary(name)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise StorageError(f"The folder cannot be written: {error.strerror}.", "Choose another.") from error
        self._created.append(path)
        return os.fdopen(handle, "wb", buffering=0)

    def commit(self) -> tuple[Path, ...]:
        """Claims each name before it renames, so that a file that came up in the meantime is never replaced."""
        kept: list[Path] = []
        try:
            for name in self._names:
                (self._folder / name).touch(mode=0o600, exist_ok=False)
                kept.append(self._folder / name)
                self._temporary(name).replace(self._folder / name)
        except OSError as error:
            for path in kept:
                path.unlink(missing_ok=True)
            if isinstance(error, FileExistsError):
                raise _already_exists(name) from error
            raise StorageError(f"{name} cannot be written: {error.strerror}.", "Choose another folder.") from error
        return tuple(kept)

    def _temporary(self, name: str) -> Path:
        return self._folder / f".{self._names.index(name)}{self._suffix}"


def _already_exists(name: str) -> InvalidInputError:
    return InvalidInputError(f"There is already a {escape_text(name)}.", "Choose an empty folder, or move it away.")
