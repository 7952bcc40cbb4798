"""Opened files that appear in a folder all at once or not at all, and never over an existing one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from sealyard.containers import ustar
from sealyard.model.errors import InvalidInputError, StorageError
from sealyard.model.safe_text import escape_text

_LONGEST_NAME = 255
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


def metadata_file_names(metadata: bytes, split: bool) -> tuple[tuple[str, bytes], ...]:
    """Names and contents of the files that metadata becomes.

    Without ``split``, or where it is no bundle, ``metadata.bin``. A bundle's files keep their names where these
    are safe and unlike each other; the others are called ``metadata-000.bin``, ``metadata-001.bin``, …
    """
    if not metadata:
        return ()
    if not split or not ustar.is_archive(metadata):
        return (("metadata.bin", metadata),)
    files = ustar.unpack(metadata)
    folded = [name.casefold() for name, _ in files]
    return tuple(
        (
            name if _safe(name) and folded.count(name.casefold()) == 1 else f"metadata-{index:03}.bin",
            content,
        )
        for index, (name, content) in enumerate(files)
    )


def _safe(name: str) -> bool:
    """No path, nothing hidden, nothing that does not print, and no name that we give ourselves."""
    return (
        escape_text(name) == name
        and 0 < len(name.encode()) <= _LONGEST_NAME
        and not name.startswith((".", "segment-", "metadata-"))
        and not set(name) & set('/\\:*?"<>|')
        and name == name.strip()
    )


def _already_exists(name: str) -> InvalidInputError:
    return InvalidInputError(f"There is already a {escape_text(name)}.", "Choose an empty folder, or move it away.")
