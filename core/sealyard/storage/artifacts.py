"""The artifact store: inputs by digest, results by task id, and the work folders of running tasks.

The store's folder contains ``incoming/`` (temporary files), ``uploads/`` (see :mod:`sealyard.storage.upload_dir`),
``inputs/ab/SHA256``, ``work/TASK/…`` (written by workers) and ``results/TASK``. All of them are on one file system, so
that a rename publishes a file atomically. Folders have mode 0700, files 0600.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from sealyard.crypto.pipeline import Progress, no_progress
from sealyard.fs import atomic
from sealyard.fs.hashing import file_sha256
from sealyard.fs.private import make_private_dir
from sealyard.fs.regular_file import open_regular
from sealyard.fs.source_file import SourceFile, verify_digest
from sealyard.model.errors import (
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    ResultGoneError,
    StorageError,
    UsageError,
)
from sealyard.model.formatting import format_count
from sealyard.model.safe_text import escape_text
from sealyard.storage.ingest import StoredInput, copy_and_hash

__all__ = ["ArtifactStore", "FileArtifacts", "Progress", "StoredInput"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class ArtifactStore(Protocol):
    """Stores inputs and results. SHA-256 values are lower case hex; sizes and offsets are in bytes.

    All methods block. All raise :class:`StorageError` if the disk refuses an operation, and :class:`UsageError` for an
    invalid SHA-256 or task id. A caller that deletes an input must ensure that no task needs it.
    """

    def ingest(self, source: Path, progress: Progress | None = None, expected_sha256: str | None = None) -> StoredInput:
        """Store a copy of the file ``source``. The copy is durable on return; identical content is stored only once.

        Raises :class:`InvalidInputError` if the file is missing, empty, unreadable, not a regular file, changes or
        disappears while it is read, or does not have the ``expected_sha256``. ``progress`` may raise an exception to
        cancel the call. After an error nothing is stored.
        """
        ...

    def ingest_bytes(self, data: bytes) -> StoredInput:
        """Store ``data`` in the same way as :meth:`ingest` stores a file.

        Raises :class:`InvalidInputError` if ``data`` is empty.
        """
        ...

    def move_in(self, content: Path, sha256: str) -> None:
        """Move the file ``content`` into the store as an input.

        The file must be complete, synced, on the file system of the store, and have the digest ``sha256``.
        """
        ...

    def input_path(self, sha256: str) -> Path:
        """Return the path of the input for workers. Raises :class:`NotFoundError` if the input is not stored."""
        ...

    def open_input(self, sha256: str) -> BinaryIO:
        """Open the input for reading.

        Raises :class:`NotFoundError` if the input is not stored, and :class:`IntegrityError` if its path is a symbolic
        link or anything else than a regular file of its own.
        """
        ...

    def delete_input(self, sha256: str) -> None: ...

    def stored_inputs(self) -> Iterator[str]:
        """Return an iterator over the SHA-256 of every stored input."""
        ...

    def work_dir(self, task_id: str) -> Path:
        """Return the task's work folder, which is created if it is missing."""
        ...

    def delete_work(self, task_id: str) -> None: ...

    def tasks_with_work_dir(self) -> tuple[str, ...]:
        """Return the ids of the tasks that have a work folder."""
        ...

    def publish_result(self, task_id: str, work_file: Path) -> None:
        """Sync a finished file in the task's work folder, and move it to the results atomically."""
        ...

    def unpublish_result(self, task_id: str, name: str) -> None:
        """Move a result back to the task's work folder as ``name``, to undo :meth:`publish_result`."""
        ...

    def has_result(self, task_id: str) -> bool: ...
    def result_path(self, task_id: str) -> Path: ...

    def open_result(self, task_id: str, offset: int = 0) -> BinaryIO:
        """Open the result, positioned at ``offset``. Raises :class:`ResultGoneError` if the result was removed."""
        ...

    def remove_result(self, task_id: str) -> None: ...

    def check_free_space(self, size: int) -> None:
        """Raise :class:`StorageError` if the disk has fewer than ``size`` free bytes."""
        ...

    def delete_temporary(self) -> None:
        """Delete the partial copies of interrupted calls of :meth:`ingest`. Must be called before the first ingest."""
        ...


class FileArtifacts:
    """:class:`ArtifactStore` in a folder."""

    def __init__(self, folder: Path) -> None:
        self._incoming = folder / "incoming"
        self._inputs = folder / "inputs"
        self._work = folder / "work"
        self._results = folder / "results"
        try:
            for subfolder in (self._incoming, self._inputs, self._work, self._results):
                make_private_dir(subfolder)
        except OSError as error:
            raise atomic.storage_error(error, "creating the artifact folders") from error

    def ingest(self, source: Path, progress: Progress | None = None, expected_sha256: str | None = None) -> StoredInput:
        source_file = SourceFile(source)
        try:
            self.check_free_space(source_file.size)
            return self._ingest(
                source_file.name,
                expected_sha256,
                lambda fd: copy_and_hash(source_file, fd, progress or no_progress),
            )
        finally:
            source_file.close()

    def ingest_bytes(self, data: bytes) -> StoredInput:
        if not data:
            raise InvalidInputError("The content is empty.", "Choose a file with content.")

        def write(fd: int) -> str:
            atomic.write_all(fd, data)
            return hashlib.sha256(data).hexdigest()

        return self._ingest("The content", None, write)

    def move_in(self, content: Path, sha256: str) -> None:
        try:
            if self._is_stored(sha256, content.stat().st_size):
                atomic.remove_quietly(content)
            else:
                self._publish_input(content, sha256)
            atomic.sync_folder(self._build_input_path(sha256).parent)
        except OSError as error:
            raise atomic.storage_error(error, "writing the input") from error

    def input_path(self, sha256: str) -> Path:
        path = self._build_input_path(sha256)
        if not os.path.lexists(path):
            raise NotFoundError(f"Input {sha256} not found.", "Upload the file again.")
        return path

    def open_input(self, sha256: str) -> BinaryIO:
        return self._open_regular_file(self.input_path(sha256), f"input {sha256}")

    def delete_input(self, sha256: str) -> None:
        _remove_file(self._build_input_path(sha256))

    def stored_inputs(self) -> Iterator[str]:
        for folder in self._inputs.iterdir():
            yield from (path.name for path in folder.iterdir())

    def tasks_with_work_dir(self) -> tuple[str, ...]:
        return tuple(path.name for path in self._work.iterdir())

    def work_dir(self, task_id: str) -> Path:
        path = self._work / _check_task_id(task_id)
        try:
            make_private_dir(path)
        except OSError as error:
            raise atomic.storage_error(error, "creating the work folder") from error
        return path

    def delete_work(self, task_id: str) -> None:
        folder = self._work / _check_task_id(task_id)
        try:
            if folder.is_symlink():
                folder.unlink()
            else:
                shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise atomic.storage_error(error, "removing the work folder") from error

    def publish_result(self, task_id: str, work_file: Path) -> None:
        target_path = self.result_path(task_id)
        try:
            with os.fdopen(open_regular(work_file, os.O_RDWR), "rb+") as file:
                os.fchmod(file.fileno(), 0o600)
                atomic.sync(file.fileno())
            atomic.rename(work_file, target_path)
            atomic.sync_folder(self._results)
        except OSError as error:
            raise atomic.storage_error(error, "moving the result") from error

    def unpublish_result(self, task_id: str, name: str) -> None:
        try:
            atomic.rename(self.result_path(task_id), self.work_dir(task_id) / name)
            atomic.sync_folder(self._results)
        except OSError as error:
            raise atomic.storage_error(error, "moving the result") from error

    def has_result(self, task_id: str) -> bool:
        return os.path.lexists(self.result_path(task_id))

    def result_path(self, task_id: str) -> Path:
        return self._results / _check_task_id(task_id)

    def open_result(self, task_id: str, offset: int = 0) -> BinaryIO:
        path = self.result_path(task_id)
        if not os.path.lexists(path):
            raise ResultGoneError("The result is no longer stored.", "Submit the request again.")
        file = self._open_regular_file(path, "the result")
        file.seek(offset)
        return file

    def remove_result(self, task_id: str) -> None:
        _remove_file(self.result_path(task_id))

    def check_free_space(self, size: int) -> None:
        try:
            free_bytes = shutil.disk_usage(self._incoming).free
        except OSError as error:
            raise atomic.storage_error(error, "checking the free space") from error
        if size > free_bytes:
            raise StorageError(
                f"Not enough disk space: {format_count(size, 'byte')} needed, {free_bytes:,} available.",
                "Free some space and try again.",
            )

    def delete_temporary(self) -> None:
        for path in self._incoming.iterdir():
            atomic.remove_quietly(path)

    def _ingest(self, name: str, expected_sha256: str | None, write_content: Callable[[int], str]) -> StoredInput:
        """Store the content that ``write_content`` writes to a file descriptor.

        ``write_content`` returns the SHA-256 of what it wrote. ``name`` is the name of the content in error messages.
        """
        try:
            fd, temporary_name = tempfile.mkstemp(dir=self._incoming)
        except OSError as error:
            raise atomic.storage_error(error, "writing the input") from error
        temporary_path = Path(temporary_name)
        try:
            sha256 = write_content(fd)
            verify_digest(name, sha256, expected_sha256)
            size = os.fstat(fd).st_size
            if not self._is_stored(sha256, size):
                atomic.sync(fd)
                self._publish_input(temporary_path, sha256)
            # Sync the folder even if the content was already stored: the sync after the earlier rename may have failed.
            atomic.sync_folder(self._build_input_path(sha256).parent)
        except OSError as error:
            raise atomic.storage_error(error, "writing the input") from error
        finally:
            os.close(fd)
            atomic.remove_quietly(temporary_path)
        return StoredInput(sha256=sha256, size=size)

    def _is_stored(self, sha256: str, size: int) -> bool:
        """Return whether an input with this digest and size is stored and undamaged."""
        try:
            with os.fdopen(open_regular(self._build_input_path(sha256)), "rb") as file:
                return os.fstat(file.fileno()).st_size == size and file_sha256(file) == sha256
        except (FileNotFoundError, IntegrityError):
            return False

    def _publish_input(self, temporary_path: Path, sha256: str) -> None:
        target_path = self._build_input_path(sha256)
        make_private_dir(target_path.parent)
        atomic.rename(temporary_path, target_path)

    def _build_input_path(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise UsageError(f"Invalid SHA-256 {escape_text(sha256, 80)}; use 64 lowercase hexadecimal digits.")
        return self._inputs / sha256[:2] / sha256

    def _open_regular_file(self, path: Path, name: str) -> BinaryIO:
        try:
            return os.fdopen(open_regular(path), "rb")
        except OSError as error:
            raise atomic.storage_error(error, f"reading {name}") from error


def _check_task_id(task_id: str) -> str:
    if not _TASK_ID.fullmatch(task_id):
        raise UsageError(f"Invalid task ID {escape_text(task_id, 80)}.")
    return task_id


def _remove_file(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise atomic.storage_error(error, f"removing {escape_text(path.name)}") from error
