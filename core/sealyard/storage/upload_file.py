"""One upload on disk, written and hashed while it is received.

One request at a time writes it, and its bytes become durable in steps.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from sealyard.fs import atomic
from sealyard.fs.hashing import hash_into
from sealyard.fs.source_file import verify_digest
from sealyard.model.errors import ConflictError, InvalidInputError, NotFoundError, StorageError
from sealyard.model.formatting import format_count
from sealyard.model.safe_text import escape_text
from sealyard.storage.upload_dir import UploadDir, UploadRecord

Promote = Callable[[UploadRecord, Path], None]
"""Moves complete, durable content out of the folder of uploads."""


class UploadFile:
    """The content and record of one upload. May be used from any thread; all methods block, properties do not.

    Each request starts a *turn* with :meth:`begin`. A newer turn ends the one before, whose later writes are rejected,
    so that a client whose connection was cut can resume before the server notices the loss. Methods raise
    :class:`NotFoundError` once the upload was dropped, except for :meth:`abort`, :meth:`drop` and :meth:`close`. All
    methods raise :class:`StorageError` if the disk refuses an operation; then only the durable bytes count as received.
    """

    def __init__(self, folder: UploadDir, record: UploadRecord, promote: Promote) -> None:
        self._folder = folder
        self._promote_content = promote
        self._lock = threading.Lock()
        self._record = record
        self._received = record.offset
        # Kept between turns. After a restart, _open computes it from the content on disk.
        self._digest: hashlib._Hash | None = None
        self._fd: int | None = None
        self._turn = 0
        self._deleted = False

    @property
    def record(self) -> UploadRecord:
        return self._record

    @property
    def bytes_received(self) -> int:
        """Bytes received, durable or not. The upload is complete only once its record has the SHA-256."""
        return self._received

    @property
    def is_deleted(self) -> bool:
        return self._deleted

    def store(self) -> None:
        """Save the record of a new upload."""
        with self._require_open():
            self._save()

    def begin(self, offset: int) -> int:
        """Start a turn that writes from ``offset`` on, and return its number.

        Raises :class:`ConflictError` if ``offset`` is not the next byte.
        """
        with self._require_open():
            if offset != self._received:
                raise ConflictError(
                    f"Upload {self._record.id} continues at byte {self._received}, not at {offset}.",
                    f"Continue from byte {self._received}.",
                )
            self._end_turn()
            if self._record.sha256 is None:
                self._open()
            else:
                self._promote()
            return self._turn

    def write(self, turn: int, data: bytes | memoryview) -> None:
        """Write and hash ``data``. The last byte of an upload with a declared size completes the upload.

        Raises :class:`InvalidInputError`, and deletes the upload, if there are too many bytes or the SHA-256 is not the
        expected one. Raises :class:`ConflictError` once a newer turn has begun.
        """
        with self._require_open():
            self._check_turn(turn)
            received = self._received + len(data)
            self._check_size(received)
            atomic.write_all(self._descriptor, data)
            self._hash.update(data)
            if received == self._record.size:
                self._complete(received)
                return
            self._received = received

    def make_durable(self, turn: int) -> None:
        """Sync what was received so far. To be called periodically; other threads can write meanwhile."""
        with self._require_open():
            if not self._resumable or not self._is_current(turn):
                return
            received, fd = self._received, os.dup(self._descriptor)
        try:
            atomic.sync(fd)
        except OSError as error:
            with self._lock:
                self._rewind()
            raise atomic.storage_error(error, "writing the upload") from error
        finally:
            os.close(fd)
        with self._require_open():
            if self._is_current(turn):
                self._save(offset=received)

    def complete(self, turn: int) -> None:
        """Complete an upload whose size was not declared.

        Raises :class:`InvalidInputError` as :meth:`write`, and if the upload is empty.
        """
        with self._require_open():
            self._check_turn(turn)
            if not self._received:
                raise self._reject(f"{self._name} is empty.", "Choose a file with content.")
            self._complete(self._received)

    def abort(self, turn: int) -> None:
        """End the turn; what was received is durable on return. A turn that has already ended is not an error."""
        with self._require_open(allow_deleted=True):
            if turn == self._turn:
                self._end_turn()

    def promote(self) -> None:
        """Promote complete content that a previous engine did not promote before it stopped."""
        with self._require_open():
            self._promote()

    def claim(self) -> None:
        """Record that a task took the content."""
        with self._require_open():
            self._save(claimed=True)

    def drop(self) -> None:
        """Delete the upload. A dropped one is not an error."""
        with self._require_open(allow_deleted=True):
            self._drop()

    def close(self) -> None:
        """End the current turn durably, because the engine is stopping."""
        with self._require_open(allow_deleted=True):
            self._end_turn()

    # ---- _require_open acquires the lock; all methods below it are called with the lock held

    @contextmanager
    def _require_open(self, *, allow_deleted: bool = False) -> Iterator[None]:
        """Hold the lock, and convert ``OSError`` to :class:`StorageError` after resetting to the durable bytes.

        Raises :class:`NotFoundError` for a dropped upload unless ``allow_deleted``.
        """
        with self._lock:
            if self._deleted and not allow_deleted:
                raise NotFoundError(f"Upload {self._record.id} no longer exists.", "Start it again.")
            try:
                yield
            except OSError as error:
                self._rewind()
                raise atomic.storage_error(error, "writing the upload") from error

    def _is_current(self, turn: int) -> bool:
        return turn == self._turn and self._fd is not None

    def _check_turn(self, turn: int) -> None:
        if turn != self._turn:
            raise ConflictError(f"Another request is continuing upload {self._record.id}.", "Stop this transfer.")
        if self._fd is None and self._record.sha256 is None:
            raise StorageError("A part of the upload could not be stored.", "Query its status and continue from there.")

    def _check_size(self, received: int) -> None:
        size = self._record.size
        if size is not None and received > size:
            raise self._reject(
                f"{self._name} is longer than the declared {format_count(size, 'byte')}.", "Start the upload again."
            )

    def _complete(self, received: int) -> None:
        sha256, expected = self._hash.hexdigest(), self._record.expected_sha256
        try:
            verify_digest(self._name, sha256, expected)
        except InvalidInputError:
            self._drop()
            raise
        atomic.sync(self._descriptor)
        self._save(offset=received, sha256=sha256)
        self._received = received
        self._close()
        self._promote()

    def _promote(self) -> None:
        content = self._folder.content(self._record)
        if content.exists():
            self._promote_content(self._record, content)

    def _reject(self, message: str, hint: str) -> InvalidInputError:
        """Delete the upload and return the error to raise."""
        self._drop()
        return InvalidInputError(message, hint)

    def _drop(self) -> None:
        self._deleted = True
        self._close()
        self._folder.remove(self._record)

    def _end_turn(self) -> None:
        """End the current turn. What was received of a resumable upload is made durable."""
        self._turn += 1
        if self._fd is not None:
            if self._resumable and self._received > self._record.offset:
                atomic.sync(self._descriptor)
                self._save(offset=self._received)
            self._close()

    def _save(self, **changes: Any) -> None:
        record = msgspec.structs.replace(self._record, **changes)
        if self._resumable:
            self._folder.save(record)
        self._record = record

    def _open(self) -> None:
        path = self._folder.content(self._record)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if os.fstat(self._fd).st_size < self._received:
            self._close()
            raise StorageError(
                f"Upload {self._record.id} lost data that was already stored.", "Delete it and start again."
            )
        atomic.truncate(self._fd, self._received)
        if self._digest is None:
            self._digest = _hash_content(self._fd)
        os.lseek(self._fd, self._received, os.SEEK_SET)

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _rewind(self) -> None:
        """Reset to the durable bytes: after a disk error the state of all later bytes is unknown."""
        self._close()
        self._received = self._record.offset
        self._digest = None

    @property
    def _resumable(self) -> bool:
        """Whether clients can resume the upload. If not, its record is never saved."""
        return self._record.size is not None

    @property
    def _descriptor(self) -> int:
        assert self._fd is not None
        return self._fd

    @property
    def _hash(self) -> hashlib._Hash:
        assert self._digest is not None
        return self._digest

    @property
    def _name(self) -> str:
        return escape_text(self._record.name, 100)


def _hash_content(fd: int) -> hashlib._Hash:
    """Return the SHA-256 object of the whole file."""
    digest = hashlib.sha256()
    os.lseek(fd, 0, os.SEEK_SET)
    with os.fdopen(fd, "rb", buffering=0, closefd=False) as file:
        hash_into(digest, file)
    return digest
