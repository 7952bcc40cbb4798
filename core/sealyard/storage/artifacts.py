"""The store of artifacts: inputs by their content, results by their task, and the workers' own space.

In the folder: ``incoming/`` (temporary names), ``uploads/`` (of :mod:`sealyard.storage.upload_dir`),
``inputs/ab/SHA256``, ``work/TASK/…`` (a worker writes there in place) and ``results/TASK``. All on one file
system, so that a rename publishes at once. Folders have mode 0700, files 0600.
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

from sealyard.fs import atomic as disk
from sealyard.fs.hashing import file_sha256
from sealyard.fs.regular import open_regular
from sealyard.fs.source_file import SourceFile, verify_digest
from sealyard.model.errors import (
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    ResultGoneError,
    StorageError,
    UsageError,
)
from sealyard.model.safe_text import escape_text
from sealyard.storage.ingest import Progress, StoredInput, copy_and_hash

__all__ = ["ArtifactStore", "FileArtifacts", "Progress", "StoredInput"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class ArtifactStore(Protocol):
    """Inputs and results. Its methods block; SHA-256 values are lower case hex, sizes and offsets bytes.

    All raise :class:`StorageError` where the disk refuses and :class:`UsageError` for what is no SHA-256 or no
    task id. Whoever drops an input makes sure that no task is about to name it.
    """

    def ingest(self, source: Path, progress: Progress | None = None, expected_sha256: str | None = None) -> StoredInput:
        """Durable on return; content that is there already is kept once.

        Raises :class:`InvalidInputError` for a file that is missing, empty, unreadable, no regular file, changes or
        vanishes while it is read, or is not what was expected. What ``progress`` raises stops it. Nothing is
        left behind.
        """
        ...

    def ingest_bytes(self, data: bytes) -> StoredInput:
        """The same for content in memory; raises :class:`InvalidInputError` for none."""
        ...

    def move_in(self, content: Path, sha256: str) -> None:
        """Makes a file of the artifacts' own disk, whole, synced and with this digest, an input: it moves there."""
        ...

    def input_path(self, sha256: str) -> Path:
        """Where a worker reads it; raises :class:`NotFoundError` where it is not stored."""
        ...

    def open_input(self, sha256: str) -> BinaryIO:
        """Raises :class:`NotFoundError`, and :class:`IntegrityError` where its name leads to another file."""
        ...

    def delete_input(self, sha256: str) -> None: ...

    def stored_inputs(self) -> Iterator[str]:
        """The SHA-256 of every input that is stored."""
        ...

    def work_dir(self, task_id: str) -> Path:
        """The task's own folder, made if it is missing."""
        ...

    def delete_work(self, task_id: str) -> None: ...

    def work_dirs(self) -> tuple[str, ...]:
        """The tasks that have a work folder."""
        ...

    def publish_result(self, task_id: str, work_file: Path) -> None:
        """Makes a finished file of the task's work the result: synced, then there as a whole."""
        ...

    def unpublish_result(self, task_id: str, name: str) -> None:
        """Puts a result back into the task's work as ``name``: its task was not recorded as done."""
        ...

    def has_result(self, task_id: str) -> bool: ...
    def result_path(self, task_id: str) -> Path: ...

    def open_result(self, task_id: str, offset: int = 0) -> BinaryIO:
        """Positioned at ``offset``; raises :class:`ResultGoneError` where it was removed."""
        ...

    def remove_result(self, task_id: str) -> None: ...

    def check_free_space(self, size: int) -> None:
        """Raises :class:`StorageError` where ``size`` more bytes obviously do not fit."""
        ...

    def delete_temporary(self) -> None:
        """Removes what a crash left half ingested; to be called at start, before any ingest."""
        ...


class FileArtifacts:
    """:class:`ArtifactStore` in a folder."""

    def __init__(self, folder: Path) -> None:
        self._incoming = folder / "incoming"
        self._inputs = folder / "inputs"
        self._work = folder / "work"
        self._results = folder / "results"
        try:
            for each in (self._incoming, self._inputs, self._work, self._results):
                disk.make_private_dir(each)
        except OSError as error:
            raise disk.storage_error(error, "the folders of the artifacts") from error

    def ingest(self, source: Path, progress: Progress | None = None, expected_sha256: str | None = None) -> StoredInput:
        opened = SourceFile(source)
        try:
            self.check_free_space(opened.size)
            return self._ingest(
                opened.name, expected_sha256, lambda target: copy_and_hash(opened, target, progress or _unheard)
            )
        finally:
            opened.close()

    def ingest_bytes(self, data: bytes) -> StoredInput:
        if not data:
            raise InvalidInputError("There is no content.", "Send a file with content.")

        def write(target: int) -> str:
            disk.write_all(target, data)
            return hashlib.sha256(data).hexdigest()

        return self._ingest("The content", None, write)

    def move_in(self, content: Path, sha256: str) -> None:
        try:
            if self._is_stored(sha256, content.stat().st_size):
                disk.remove_quietly(content)
            else:
                self._publish_input(content, sha256)
            disk.sync_folder(self._input(sha256).parent)
        except OSError as error:
            raise disk.storage_error(error, "the input") from error

    def input_path(self, sha256: str) -> Path:
        path = self._input(sha256)
        if not os.path.lexists(path):
            raise NotFoundError(f"The input {sha256} is not stored.", "Upload it again.")
        return path

    def open_input(self, sha256: str) -> BinaryIO:
        return self._open(self.input_path(sha256), f"the input {sha256}")

    def delete_input(self, sha256: str) -> None:
        _remove_file(self._input(sha256))

    def stored_inputs(self) -> Iterator[str]:
        for folder in self._inputs.iterdir():
            yield from (each.name for each in folder.iterdir())

    def work_dirs(self) -> tuple[str, ...]:
        return tuple(each.name for each in self._work.iterdir())

    def work_dir(self, task_id: str) -> Path:
        path = self._work / _checked_task(task_id)
        try:
            disk.make_private_dir(path)
        except OSError as error:
            raise disk.storage_error(error, "the work folder") from error
        return path

    def delete_work(self, task_id: str) -> None:
        folder = self._work / _checked_task(task_id)
        try:
            if folder.is_symlink():
                folder.unlink()
            else:
                shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise disk.storage_error(error, "removing the work folder") from error

    def publish_result(self, task_id: str, work_file: Path) -> None:
        target = self.result_path(task_id)
        try:
            with os.fdopen(open_regular(work_file, os.O_RDWR), "rb+") as file:
                os.fchmod(file.fileno(), 0o600)
                disk.sync(file.fileno())
            disk.rename(work_file, target)
            disk.sync_folder(self._results)
        except OSError as error:
            raise disk.storage_error(error, "the result") from error

    def unpublish_result(self, task_id: str, name: str) -> None:
        try:
            disk.rename(self.result_path(task_id), self.work_dir(task_id) / name)
            disk.sync_folder(self._results)
        except OSError as error:
            raise disk.storage_error(error, "the result") from error

    def has_result(self, task_id: str) -> bool:
        return os.path.lexists(self.result_path(task_id))

    def result_path(self, task_id: str) -> Path:
        return self._results / _checked_task(task_id)

    def open_result(self, task_id: str, offset: int = 0) -> BinaryIO:
        path = self.result_path(task_id)
        if not os.path.lexists(path):
            raise ResultGoneError("The result is not stored any more.", "Create the task again.")
        file = self._open(path, "the result")
        file.seek(offset)
        return file

    def remove_result(self, task_id: str) -> None:
        _remove_file(self.result_path(task_id))

    def check_free_space(self, size: int) -> None:
        try:
            free = shutil.disk_usage(self._incoming).free
        except OSError as error:
            raise disk.storage_error(error, "a look at the free space") from error
        if size > free:
            raise StorageError(
                f"{size:,} bytes do not fit on the workspace's disk: {free:,} are free.",
                "Free some space and try again.",
            )

    def delete_temporary(self) -> None:
        for path in self._incoming.iterdir():
            disk.remove_quietly(path)

    def _ingest(self, name: str, expected: str | None, fill: Callable[[int], str]) -> StoredInput:
        """``fill`` writes the content to a descriptor and gives its SHA-256; ``name`` is for errors."""
        try:
            fd, temporary_name = tempfile.mkstemp(dir=self._incoming)
        except OSError as error:
            raise disk.storage_error(error, "the input") from error
        temporary = Path(temporary_name)
        try:
            sha256 = fill(fd)
            verify_digest(name, sha256, expected)
            size = os.fstat(fd).st_size
            if not self._is_stored(sha256, size):
                disk.sync(fd)
                self._publish_input(temporary, sha256)
            # Also for what was there: the sync of its name may have failed then.
            disk.sync_folder(self._input(sha256).parent)
        except OSError as error:
            raise disk.storage_error(error, "the input") from error
        finally:
            os.close(fd)
            disk.remove_quietly(temporary)
        return StoredInput(sha256=sha256, size=size)

    def _is_stored(self, sha256: str, size: int) -> bool:
        """Whether an input is stored whose bytes still have this digest; any other is to be replaced."""
        try:
            with os.fdopen(open_regular(self._input(sha256)), "rb") as file:
                return os.fstat(file.fileno()).st_size == size and file_sha256(file) == sha256
        except (FileNotFoundError, IntegrityError):
            return False

    def _publish_input(self, temporary: Path, sha256: str) -> None:
        target = self._input(sha256)
        disk.make_private_dir(target.parent)
        disk.rename(temporary, target)

    def _input(self, sha256: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise UsageError(f"{escape_text(sha256, 80)} is no SHA-256 in lower case hex.")
        return self._inputs / sha256[:2] / sha256

    def _open(self, path: Path, what: str) -> BinaryIO:
        try:
            return os.fdopen(open_regular(path), "rb")
        except OSError as error:
            raise disk.storage_error(error, f"reading {what}") from error


def _unheard(done: int) -> None:
    """The progress nobody asked for."""


def _checked_task(task_id: str) -> str:
    if not _TASK_ID.fullmatch(task_id):
        raise UsageError(f"{escape_text(task_id, 80)} is no task id.")
    return task_id


def _remove_file(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise disk.storage_error(error, f"removing {escape_text(path.name)}") from error
