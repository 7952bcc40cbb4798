"""One upload on the disk: written and hashed as it comes in, by one writer at a time, and durable step by step."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from sealyard.fs import atomic as disk
from sealyard.model.errors import ConflictError, InvalidInputError, NotFoundError, StorageError
from sealyard.model.safe_text import escape_text
from sealyard.storage.upload_dir import UploadDir, UploadRecord

REHASH_BYTES = 1 << 20

Promote = Callable[[UploadRecord, Path], None]
"""Takes whole and durable content over, so that it is not in the folder any more."""


class UploadFile:
    """May be used from any thread; all its methods but the properties block.

    Each request takes a *turn* with :meth:`begin`; a newer turn ends the one before, whose later writes are
    refused: a client that was cut off need not wait until the server notices. All raise :class:`NotFoundError` once
    the upload was dropped, and :class:`StorageError` where the disk refuses: then what counts is what was durable.
    """

    def __init__(self, folder: UploadDir, record: UploadRecord, adopt: Promote) -> None:
        self._folder = folder
        self._adopt = adopt
        self._lock = threading.Lock()
        self._record = record
        self._received = record.offset
        # Kept from turn to turn; after a restart it is made anew from what is on the disk.
        self._digest: hashlib._Hash | None = None
        self._fd: int | None = None
        self._turn = 0
        self._gone = False

    @property
    def record(self) -> UploadRecord:
        return self._record

    @property
    def received(self) -> int:
        """Bytes that came, durable or not yet. All of them only once the record tells their SHA-256."""
        return self._received

    @property
    def deleted(self) -> bool:
        return self._gone

    def store(self) -> None:
        """Writes the record of a new upload down."""
        with self._require_open():
            self._save()

    def begin(self, offset: int) -> int:
        """A new turn, that writes from ``offset`` on. Raises :class:`ConflictError` where that is not the next byte."""
        with self._require_open():
            if offset != self._received:
                raise ConflictError(
                    f"The upload {self._record.id} goes on at byte {self._received}, not at {offset}.",
                    f"Send what follows from byte {self._received} on.",
                )
            self._stop()
            if self._record.sha256 is None:
                self._open()
            else:
                self._hand_over()
            return self._turn

    def write(self, turn: int, data: bytes | memoryview) -> None:
        """Raises :class:`InvalidInputError`, with nothing left behind, for too many bytes and for another SHA-256.

        The last byte makes the upload complete. Raises :class:`ConflictError` once a newer turn has begun.
        """
        with self._require_open():
            self._require_turn(turn)
            received = self._received + len(data)
            self._require_fitting(received)
            disk.write_all(self._descriptor, data)
            self._hash.update(data)
            if received == self._record.size:
                self._complete(received)
                return
            self._received = received

    def make_durable(self, turn: int) -> None:
        """What came until now; to be called now and then, beside the writing, which goes on meanwhile."""
        with self._require_open():
            if not self._resumable or not self._is_current(turn):
                return
            received, fd = self._received, os.dup(self._descriptor)
        try:
            disk.sync(fd)
        except OSError as error:
            with self._lock:
                self._rewind()
            raise disk.storage_error(error, "the upload") from error
        finally:
            os.close(fd)
        with self._require_open():
            if self._is_current(turn):
                self._save(offset=received)

    def complete(self, turn: int) -> None:
        """The content of an upload whose size was not said ends here. Raises :class:`InvalidInputError` as
        :meth:`write`.
        """
        with self._require_open():
            self._require_turn(turn)
            if not self._received:
                raise self._refused(f"{self._name} is empty.", "Send a file with content.")
            self._complete(self._received)

    def abort(self, turn: int) -> None:
        """What came is durable on return. A turn that was over before, by whatever, is no error."""
        with self._require_open(dropped_too=True):
            if turn == self._turn:
                self._stop()

    def promote(self) -> None:
        """Whole content that an engine had no time to adopt is adopted now."""
        with self._require_open():
            self._hand_over()

    def claim(self) -> None:
        with self._require_open():
            self._save(claimed=True)

    def drop(self) -> None:
        with self._require_open(dropped_too=True):
            self._drop()

    def close(self) -> None:
        """Ends the turn that is on, durably, for the engine stops."""
        with self._require_open(dropped_too=True):
            self._stop()

    # ---- all below is called with the lock held

    @contextmanager
    def _require_open(self, *, dropped_too: bool = False) -> Iterator[None]:
        with self._lock:
            if self._gone and not dropped_too:
                raise NotFoundError(f"There is no upload {self._record.id} any more.", "Begin it again.")
            try:
                yield
            except OSError as error:
                self._rewind()
                raise disk.storage_error(error, "the upload") from error

    def _is_current(self, turn: int) -> bool:
        return turn == self._turn and self._fd is not None

    def _require_turn(self, turn: int) -> None:
        if turn != self._turn:
            raise ConflictError(f"Another request goes on with the upload {self._record.id}.", "Leave it to that one.")
        if self._fd is None and self._record.sha256 is None:
            raise StorageError("The disk refused a part of the upload.", "Ask where it stands, and go on from there.")

    def _require_fitting(self, received: int) -> None:
        size = self._record.size
        if size is not None and received > size:
            raise self._refused(f"{self._name} is longer than the {size:,} bytes it was said to have.", "Begin again.")

    def _complete(self, received: int) -> None:
        sha256, expected = self._hash.hexdigest(), self._record.expected_sha256
        if expected is not None and sha256 != expected:
            raise self._refused(
                f"{self._name} is not what was expected: its SHA-256 is {sha256}, not {expected}.",
                "Check that it is the right file and that it arrived whole.",
            )
        disk.sync(self._descriptor)
        self._save(offset=received, sha256=sha256)
        self._received = received
        self._close()
        self._hand_over()

    def _hand_over(self) -> None:
        content = self._folder.content(self._record)
        if content.exists():
            self._adopt(self._record, content)

    def _refused(self, message: str, advice: str) -> InvalidInputError:
        """The error to raise: nothing is left of the upload."""
        self._drop()
        return InvalidInputError(message, advice)

    def _drop(self) -> None:
        self._gone = True
        self._close()
        self._folder.remove(self._record)

    def _stop(self) -> None:
        """Ends the turn that is on."""
        self._turn += 1
        if self._fd is not None:
            if self._resumable and self._received > self._record.offset:
                disk.sync(self._descriptor)
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
                f"The upload {self._record.id} has lost what was on the disk already.", "Delete it and begin again."
            )
        disk.truncate(self._fd, self._received)
        if self._digest is None:
            self._digest = _hashed(self._fd, self._received)
        os.lseek(self._fd, self._received, os.SEEK_SET)

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _rewind(self) -> None:
        """After a refusal nothing is known of what was not durable."""
        self._close()
        self._received = self._record.offset
        self._digest = None

    @property
    def _resumable(self) -> bool:
        """Whether anybody can go on with it; where not, nothing is worth writing down before it is whole."""
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


def _hashed(fd: int, length: int) -> hashlib._Hash:
    """Of the first ``length`` bytes."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(min(REHASH_BYTES, length)))
    done = 0
    while done < length:
        chunk = buffer[: os.preadv(fd, [buffer[: length - done]], done)]
        digest.update(chunk)
        done += len(chunk)
    return digest
