"""The artifact store: inputs by digest, results by task id, and the work folders of running tasks.

The folder of :class:`FileArtifacts` contains ``incoming/`` (temporary files), ``uploads/`` (see
:mod:`sealyard.storage.upload_dir`), ``inputs/ab/SHA256``, ``work/TASK/…`` (written by workers) and ``results/TASK``.
All of them are on one file system, so that a rename publishes a file atomically. Folders have mode 0700, files 0600.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from sealyard.concurrency.threads import CheckCancelled
from sealyard.crypto.pipeline import Progress, no_progress
from sealyard.fs import atomic
from sealyard.fs.hashing import file_sha256
from sealyard.fs.private import make_private_dir
from sealyard.fs.regular_file import open_regular
from sealyard.fs.source_file import SourceFile
from sealyard.model.errors import (
    IntegrityError,
    NotFoundError,
    ResultGoneError,
    StorageError,
    UsageError,
)
from sealyard.model.formatting import format_count
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import InputFile, TaskKind
from sealyard.storage.artifact_grants import ArtifactGrants
from sealyard.storage.incoming import IncomingFiles
from sealyard.storage.ingest import StoredInput, copy_and_hash, write_and_hash
from sealyard.storage.result_id import ResultId

__all__ = ["OUTPUT_NAMES", "ArtifactStore", "FileArtifacts", "Progress", "RemoteArtifacts", "ResultId", "StoredInput"]

OUTPUT_NAMES = {TaskKind.PACKAGING: "container", TaskKind.ENCRYPTION: "encrypted"}
"""The file name of a worker's output in the task's work directory."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class ArtifactStore(Protocol):
    """Stores inputs and results. SHA-256 values are lower case hex; sizes and offsets are in bytes.

    All methods block, except :meth:`input_size`, :meth:`delete_input`, :meth:`delete_work` and
    :meth:`check_free_space`, which take no longer than an operation on a local disk. All raise :class:`StorageError` if
    the store refuses an operation, and :class:`UsageError` for an invalid SHA-256 or task id. A caller that deletes an
    input must ensure that no task needs it.
    """

    @property
    def remote(self) -> RemoteArtifacts | None:
        """This store, if it is reached over a network; None if workers read its files."""
        ...

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

        The file must be complete, synced, on the file system of the store, and have the digest ``sha256``. It is kept
        if an error occurs.
        """
        ...

    def input_size(self, sha256: str) -> int:
        """Return the size of the input. Raises :class:`NotFoundError` if the input is not stored."""
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

    def publish_result(self, result: ResultId, work_file: Path, sha256: str, check_cancelled: CheckCancelled) -> None:
        """Store a finished file in the task's work folder as its result. The result is durable on return.

        ``sha256``: the digest that the worker reported. ``check_cancelled`` may raise an exception to cancel the call.
        """
        ...

    def unpublish_result(self, task_id: str, name: str) -> None:
        """Undo :meth:`publish_result`: the task's work folder contains the file as ``name`` again.

        Does nothing if the task has no result.
        """
        ...

    def open_result(self, result: ResultId, offset: int = 0) -> BinaryIO:
        """Open the result, positioned at ``offset``. Raises :class:`ResultGoneError` if the result was removed."""
        ...

    def remove_result(self, task_id: str) -> None:
        """Remove the results of all attempts of the task."""
        ...

    def check_free_space(self, size: int) -> None:
        """Raise :class:`StorageError` if the disk has fewer than ``size`` free bytes."""
        ...

    def delete_temporary(self) -> None:
        """Delete the partial copies of interrupted calls of :meth:`ingest`. Must be called before the first ingest."""
        ...


class RemoteArtifacts(ArtifactStore, ArtifactGrants, Protocol):
    """Stores inputs and results on another machine. Workers on this machine read copies of the inputs in a folder.

    All methods raise :class:`ArtifactStoreError` if the store cannot be reached or refuses a request.
    """

    def check(self) -> None:
        """Check that the store can be used. Returns or raises within some seconds."""
        ...

    def stage_inputs(self, task_id: str, files: Iterable[InputFile], check_cancelled: CheckCancelled) -> None:
        """Copy inputs to the folder of workers, until :meth:`delete_work` of the task. Skips those that are not stored.

        The copies are not verified: workers verify them. ``check_cancelled`` may raise an exception to cancel the call.
        """
        ...

    def uploaded_at(self, sha256: str) -> datetime | None:
        """Return when the input was stored; None if it is not stored."""
        ...

    def remove_orphaned_results(self, kept: Collection[ResultId]) -> None:
        """Remove results that are not in ``kept``, and interrupted uploads, if they are older than a day."""
        ...

    def close(self, *, finish: bool) -> None:
        """Stop deleting inputs. Must be called when the engine closes, or lost the workspace.

        ``finish``: whether to do the pending deletions before that. Otherwise, the next engine does them.
        """
        ...


class FileArtifacts:
    """:class:`ArtifactStore` in a folder."""

    remote: RemoteArtifacts | None = None

    def __init__(self, folder: Path) -> None:
        self._incoming = IncomingFiles(folder / "incoming")
        self._inputs = folder / "inputs"
        self._work = folder / "work"
        self._results = folder / "results"
        try:
            for subfolder in (self._incoming.folder, self._inputs, self._work, self._results):
                make_private_dir(subfolder)
        except OSError as error:
            raise atomic.storage_error(error, "creating the artifact folders") from error

    def ingest(self, source: Path, progress: Progress | None = None, expected_sha256: str | None = None) -> StoredInput:
        with closing(SourceFile(source)) as source_file:
            self.check_free_space(source_file.size)
            return self._ingest(
                source_file.name,
                expected_sha256,
                lambda fd: copy_and_hash(source_file, fd, progress or no_progress),
            )

    def ingest_bytes(self, data: bytes) -> StoredInput:
        return self._ingest("The content", None, lambda fd: write_and_hash(data, fd))

    def move_in(self, content: Path, sha256: str) -> None:
        try:
            if self._is_stored(sha256, content.stat().st_size):
                atomic.remove_quietly(content)
            else:
                self._publish_input(content, sha256)
            atomic.sync_folder(self._build_input_path(sha256).parent)
        except OSError as error:
            raise atomic.storage_error(error, "writing the input") from error

    def input_size(self, sha256: str) -> int:
        return self.input_path(sha256).stat().st_size

    def input_path(self, sha256: str) -> Path:
        """Return the path of the input for workers. Raises :class:`NotFoundError` if the input is not stored."""
        path = self._build_input_path(sha256)
        if not os.path.lexists(path):
            raise input_missing_error(sha256)
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
        path = self._work / check_task_id(task_id)
        try:
            make_private_dir(path)
        except OSError as error:
            raise atomic.storage_error(error, "creating the work folder") from error
        return path

    def delete_work(self, task_id: str) -> None:
        folder = self._work / check_task_id(task_id)
        try:
            if folder.is_symlink():
                folder.unlink()
            else:
                shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise atomic.storage_error(error, "removing the work folder") from error

    def publish_result(
        self,
        result: ResultId,
        work_file: Path,
        sha256: str,  # noqa: ARG002 - the worker has verified the file, which is moved
        check_cancelled: CheckCancelled,  # noqa: ARG002 - a rename takes no time
    ) -> None:
        target_path = self.result_path(result.task_id)
        try:
            with os.fdopen(open_regular(work_file, os.O_RDWR), "rb+") as file:
                os.fchmod(file.fileno(), 0o600)
                atomic.sync(file.fileno())
            atomic.rename(work_file, target_path)
            atomic.sync_folder(self._results)
        except OSError as error:
            raise atomic.storage_error(error, "moving the result") from error

    def unpublish_result(self, task_id: str, name: str) -> None:
        if not self.has_result(task_id):
            return
        try:
            atomic.rename(self.result_path(task_id), self.work_dir(task_id) / name)
            atomic.sync_folder(self._results)
        except OSError as error:
            raise atomic.storage_error(error, "moving the result") from error

    def has_result(self, task_id: str) -> bool:
        return os.path.lexists(self.result_path(task_id))

    def result_path(self, task_id: str) -> Path:
        return self._results / check_task_id(task_id)

    def open_result(self, result: ResultId, offset: int = 0) -> BinaryIO:
        path = self.result_path(result.task_id)
        if not os.path.lexists(path):
            raise result_gone_error()
        file = self._open_regular_file(path, "the result")
        file.seek(offset)
        return file

    def remove_result(self, task_id: str) -> None:
        _remove_file(self.result_path(task_id))

    def check_free_space(self, size: int) -> None:
        try:
            free_bytes = shutil.disk_usage(self._incoming.folder).free
        except OSError as error:
            raise atomic.storage_error(error, "checking the free space") from error
        if size > free_bytes:
            raise StorageError(
                f"Not enough disk space: {format_count(size, 'byte')} needed, {free_bytes:,} available.",
                "Free some space and try again.",
            )

    def delete_temporary(self) -> None:
        self._incoming.delete_all()

    def _ingest(self, name: str, expected_sha256: str | None, write_content: Callable[[int], str]) -> StoredInput:
        with self._incoming.write(name, expected_sha256, write_content) as incoming:
            try:
                if not self._is_stored(incoming.sha256, incoming.size):
                    incoming.sync()
                    self._publish_input(incoming.path, incoming.sha256)
                # Sync the folder even if the content was already stored: the sync after the earlier rename may have
                # failed.
                atomic.sync_folder(self._build_input_path(incoming.sha256).parent)
            except OSError as error:
                raise atomic.storage_error(error, "writing the input") from error
            return StoredInput(sha256=incoming.sha256, size=incoming.size)

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
        return self._inputs / check_sha256(sha256)[:2] / sha256

    def _open_regular_file(self, path: Path, name: str) -> BinaryIO:
        try:
            return os.fdopen(open_regular(path), "rb")
        except OSError as error:
            raise atomic.storage_error(error, f"reading {name}") from error


def is_sha256(text: str) -> bool:
    """Return whether ``text`` is a SHA-256 in lower case hex."""
    return _SHA256.fullmatch(text) is not None


def check_sha256(sha256: str) -> str:
    """Return ``sha256``. Raises :class:`UsageError` if it is not the digest of an input."""
    if not is_sha256(sha256):
        raise UsageError(f"Invalid SHA-256 {escape_text(sha256, 80)}; use 64 lowercase hexadecimal digits.")
    return sha256


def check_task_id(task_id: str) -> str:
    """Return ``task_id``. Raises :class:`UsageError` if it is not the id of a task."""
    if not _TASK_ID.fullmatch(task_id):
        raise UsageError(f"Invalid task ID {escape_text(task_id, 80)}.")
    return task_id


def input_missing_error(sha256: str) -> NotFoundError:
    return NotFoundError(f"Input {sha256} not found.", "Upload the file again.")


def result_gone_error() -> ResultGoneError:
    return ResultGoneError("The result is no longer stored.", "Submit the request again.")


def _remove_file(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise atomic.storage_error(error, f"removing {escape_text(path.name)}") from error
