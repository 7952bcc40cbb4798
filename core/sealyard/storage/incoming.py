"""Temporary files for the content of inputs that are not stored yet."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sealyard.fs import atomic
from sealyard.fs.source_file import verify_digest


class IncomingFile(NamedTuple):
    """A complete temporary file, whose digest was verified. It is not synced yet."""

    path: Path
    sha256: str
    size: int
    fd: int

    def sync(self) -> None:
        """Raises ``OSError`` if the disk refuses it."""
        atomic.sync(self.fd)


class IncomingFiles:
    """Creates temporary files in ``folder``, which must exist."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def write(
        self, name: str, expected_sha256: str | None, write_content: Callable[[int], str]
    ) -> Iterator[IncomingFile]:
        """Yield a file with the content that ``write_content`` writes to a file descriptor.

        ``write_content`` returns the SHA-256 of what it wrote. ``name`` is the name of the content in error messages.
        The file is deleted at the end, unless it was moved. Raises :class:`InputMismatchError` if the content does not
        have the ``expected_sha256``, and :class:`StorageError` if the disk refuses it.
        """
        try:
            fd, temporary_name = tempfile.mkstemp(dir=self.folder)
        except OSError as error:
            raise atomic.storage_error(error, "writing the input") from error
        path = Path(temporary_name)
        try:
            try:
                sha256 = write_content(fd)
                size = os.fstat(fd).st_size
            except OSError as error:
                raise atomic.storage_error(error, "writing the input") from error
            verify_digest(name, sha256, expected_sha256)
            yield IncomingFile(path, sha256, size, fd)
        finally:
            os.close(fd)
            atomic.remove_quietly(path)

    def delete_all(self) -> None:
        """Delete the files of a process that was killed."""
        for path in self.folder.iterdir():
            atomic.remove_quietly(path)
