"""A file on disk that is written and hashed while an upload is received.

One request at a time writes to the file, and its bytes are made durable from time to time.
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
from sealyard.model.errors import ConflictError, InputMismatchError, InvalidInputError, NotFoundError, StorageError
from sealyard.model.formatting import format_count
from sealyard.model.safe_text import escape_text
from sealyard.storage.direct_uploads import DirectSlot
from sealyard.storage.upload_dir import UploadDir, UploadRecord

Promote = Callable[[UploadRecord, Path], None]
"""Moves the complete, durable content of an upload (a path) out of the folder of uploads."""


class UploadFile:
    """The content and record of one upload. May be used from any thread; all methods block, properties do not.

    Each request starts a *turn* with :meth:`begin`. A new turn ends the previous one, whose later writes are rejected,
    so that a client whose connection was lost can resume before the server notices the loss. All methods except
    :meth:`abort`, :meth:`drop` and :meth:`close` raise :class:`NotFoundError` once the upload has been dropped. All
    methods raise :class:`StorageError` if the disk refuses an operation; then only the durable bytes count as received.
    """

    def __init__(self, folder: UploadDir, record: UploadRecord, promote: Promote) -> None:
        self._folder = folder
        self._promote_content = promote
        self._lock = threading.Lock()
        self._record = record
        self._received_bytes = record.offset
        # The hasher is kept between turns. After a restart, _open_content creates it from the content on disk.
        self._hasher: hashlib._Hash | None = None
        self._fd: int | None = None
        self._turn = 0
        self._deleted = False
        self._promoted = record.claimed

    @property
    def record(self) -> UploadRecord:
        return self._record

    @property
    def bytes_received(self) -> int:
        """Number of bytes received, durable or not. See :attr:`is_complete`."""
        return self._received_bytes

    @property
    def is_complete(self) -> bool:
        """Whether all bytes were received, and the content was promoted, so that tasks can use it."""
        return self._promoted

    @property
    def is_deleted(self) -> bool:
        return self._deleted

    def store(self) -> None:
        """Save the record of a new upload."""
        with self._require_open():
            self._save()

    def begin(self, offset: int) -> int:
        """Start a turn that writes from ``offset`` on, and return the number of the turn.

        Raises :class:`ConflictError` if ``offset`` is not the number of bytes received so far.
        """
        with self._require_open():
            if offset != self._received_bytes:
                raise ConflictError(
                    f"Upload {self._record.id} continues at byte {self._received_bytes}, not at {offset}.",
                    f"Continue from byte {self._received_bytes}.",
                )
            self._end_turn()
            if self._record.sha256 is None:
                self._open_content()
            else:
                self._promote()
            return self._turn

    def write(self, turn: int, data: bytes | memoryview) -> None:
        """Write and hash ``data``. If the upload's size was declared, its last byte completes the upload.

        Raises :class:`InputMismatchError`, and deletes the upload, if it becomes longer than its size or its SHA-256 is
        not the expected one. Raises :class:`ConflictError` if a newer turn has begun.
        """
        with self._require_open():
            self._check_turn(turn)
            received_bytes = self._received_bytes + len(data)
            self._check_size(received_bytes)
            atomic.write_all(self._descriptor, data)
            self._required_hasher.update(data)
            if received_bytes == self._record.size:
                self._complete(received_bytes)
                return
            self._received_bytes = received_bytes

    def make_durable(self, turn: int) -> None:
        """Sync the bytes received so far, and record them as durable. Other threads can call :meth:`write` meanwhile.

        Does nothing if the turn has ended or the upload cannot be resumed.
        """
        with self._require_open():
            if not self._is_resumable or not self._is_current(turn):
                return
            received_bytes, fd = self._received_bytes, os.dup(self._descriptor)
        try:
            atomic.sync(fd)
        except OSError as error:
            with self._lock:
                self._reset_to_durable()
            raise atomic.storage_error(error, "writing the upload") from error
        finally:
            os.close(fd)
        with self._require_open():
            if self._is_current(turn):
                self._save(offset=received_bytes)

    def complete(self, turn: int) -> None:
        """Complete an upload whose size was not declared.

        Raises :class:`InvalidInputError` if it is empty, and :class:`InputMismatchError` if its SHA-256 is not the
        expected one; both delete the upload. Raises :class:`ConflictError` if a newer turn has begun.
        """
        with self._require_open():
            self._check_turn(turn)
            if not self._received_bytes:
                self._drop()
                raise InvalidInputError(f"{self._display_name} is empty.", "Choose a file with content.")
            self._complete(self._received_bytes)

    def abort(self, turn: int) -> None:
        """End the turn, after making the received bytes durable. Does nothing if the turn has already ended."""
        with self._require_open(allow_deleted=True):
            if turn == self._turn:
                self._end_turn()

    def promote(self) -> None:
        """Promote the content of a complete upload, if the previous engine stopped before doing so."""
        with self._require_open():
            self._promote()

    def set_slot(self, slot: DirectSlot) -> DirectSlot:
        """Record where a remote artifact store receives the content. Returns the slot that was recorded first."""
        with self._require_open():
            if self._record.slot is None:
                self._save(slot=slot)
            return self._record.slot or slot

    def complete_directly(self, sha256: str) -> None:
        """Complete an upload whose content a remote artifact store has received, verified and stored as an input.

        Ends a turn that writes the same upload.
        """
        with self._require_open():
            if self._record.sha256 is None:
                self._turn += 1
                self._close_content()
                self._save(offset=self._record.size, sha256=sha256)
                self._received_bytes = self._record.offset
                atomic.remove_quietly(self._folder.content(self._record))
            self._promoted = True

    def claim(self) -> None:
        """Record that a task has taken the content of the upload."""
        with self._require_open():
            self._save(claimed=True)

    def drop(self) -> None:
        """Delete the upload. It is not an error if the upload has already been dropped."""
        with self._require_open(allow_deleted=True):
            self._drop()

    def close(self) -> None:
        """End the current turn, after making the received bytes durable. Called when the engine closes."""
        with self._require_open(allow_deleted=True):
            self._end_turn()

    # ---- _require_open acquires the lock; all methods that follow it must be called with the lock held

    @contextmanager
    def _require_open(self, *, allow_deleted: bool = False) -> Iterator[None]:
        """Hold the lock. On ``OSError``, reset to the durable bytes and raise :class:`StorageError` instead.

        Raises :class:`NotFoundError` if the upload has been dropped, unless ``allow_deleted``.
        """
        with self._lock:
            if self._deleted and not allow_deleted:
                raise NotFoundError(f"Upload {self._record.id} no longer exists.", "Start it again.")
            try:
                yield
            except OSError as error:
                self._reset_to_durable()
                raise atomic.storage_error(error, "writing the upload") from error

    def _is_current(self, turn: int) -> bool:
        return turn == self._turn and self._fd is not None

    def _check_turn(self, turn: int) -> None:
        if turn != self._turn:
            raise ConflictError(f"Another request is continuing upload {self._record.id}.", "Stop this transfer.")
        if self._fd is None and self._record.sha256 is None:
            raise StorageError("A part of the upload could not be stored.", "Query its status and continue from there.")

    def _check_size(self, received_bytes: int) -> None:
        size = self._record.size
        if size is not None and received_bytes > size:
            self._drop()
            raise InputMismatchError(
                f"{self._display_name} is longer than the declared {format_count(size, 'byte')}.",
                "Start the upload again.",
            )

    def _complete(self, received_bytes: int) -> None:
        sha256, expected_sha256 = self._required_hasher.hexdigest(), self._record.expected_sha256
        try:
            verify_digest(self._display_name, sha256, expected_sha256)
        except InputMismatchError:
            self._drop()
            raise
        atomic.sync(self._descriptor)
        self._save(offset=received_bytes, sha256=sha256)
        self._received_bytes = received_bytes
        self._close_content()
        self._promote()

    def _promote(self) -> None:
        content = self._folder.content(self._record)
        if content.exists():
            self._promote_content(self._record, content)
        self._promoted = True

    def _drop(self) -> None:
        self._deleted = True
        self._close_content()
        self._folder.remove(self._record)

    def _end_turn(self) -> None:
        """End the current turn, after making the received bytes durable if the upload can be resumed."""
        self._turn += 1
        if self._fd is not None:
            if self._is_resumable and self._received_bytes > self._record.offset:
                atomic.sync(self._descriptor)
                self._save(offset=self._received_bytes)
            self._close_content()

    def _save(self, **changes: Any) -> None:
        record = msgspec.structs.replace(self._record, **changes)
        if self._is_resumable:
            self._folder.save(record)
        self._record = record

    def _open_content(self) -> None:
        path = self._folder.content(self._record)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if os.fstat(self._fd).st_size < self._received_bytes:
            self._close_content()
            raise StorageError(
                f"Upload {self._record.id} lost data that was already stored.", "Delete it and start again."
            )
        atomic.truncate(self._fd, self._received_bytes)
        if self._hasher is None:
            self._hasher = _hash_content(self._fd)
        os.lseek(self._fd, self._received_bytes, os.SEEK_SET)

    def _close_content(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _reset_to_durable(self) -> None:
        """Reset to the durable bytes, because after a disk error the state of all later bytes is unknown."""
        self._close_content()
        self._received_bytes = self._record.offset
        self._hasher = None

    @property
    def _is_resumable(self) -> bool:
        """Whether clients can resume the upload. The record of an upload that cannot be resumed is never saved."""
        return self._record.size is not None

    @property
    def _descriptor(self) -> int:
        assert self._fd is not None
        return self._fd

    @property
    def _required_hasher(self) -> hashlib._Hash:
        assert self._hasher is not None
        return self._hasher

    @property
    def _display_name(self) -> str:
        return escape_text(self._record.name, 100)


def _hash_content(fd: int) -> hashlib._Hash:
    """Return a SHA-256 hasher that has hashed the whole content of a file."""
    hasher = hashlib.sha256()
    os.lseek(fd, 0, os.SEEK_SET)
    with os.fdopen(fd, "rb", buffering=0, closefd=False) as file:
        hash_into(hasher, file)
    return hasher
