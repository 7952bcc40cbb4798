"""Resumable uploads from the server's clients: create, receive and resume them, and use them as inputs of tasks."""

from __future__ import annotations

import logging
import re
import secrets
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sealyard.concurrency.threads import run_uncancellable
from sealyard.engine.inputs.store import UNCLAIMED_TTL, InputStore, check_name_length
from sealyard.engine.inputs.stream_writer import write_stream
from sealyard.fs.source_file import to_utf8_name
from sealyard.model.clock import Clock
from sealyard.model.digests import parse_sha256
from sealyard.model.errors import ConflictError, InvalidInputError, NotFoundError, SealyardError, UsageError
from sealyard.model.formatting import format_count
from sealyard.model.requests import UploadStatus
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import InputFile
from sealyard.storage.artifacts import ArtifactStore
from sealyard.storage.upload_dir import UploadDir, UploadRecord
from sealyard.storage.upload_file import UploadFile

_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")

log = logging.getLogger(__name__)


class UploadService:
    """Manages uploads. An upload belongs to the subject that created it; other subjects get :class:`NotFoundError`.

    All methods must be called on the engine's event loop, except :meth:`write`, which is called on the event loop that
    yields its chunks, and :meth:`recover` and :meth:`close`, which block and are called in a worker thread. An upload
    is kept for 24 hours from its creation, so that a repeated request for a task refers to the same files. Its content
    is kept until a task claims it, and then as long as that task needs it.
    """

    def __init__(self, upload_dir: UploadDir, artifacts: ArtifactStore, inputs: InputStore, clock: Clock) -> None:
        self._upload_dir = upload_dir
        self._artifacts = artifacts
        self._direct = artifacts.remote.direct if artifacts.remote is not None else None
        self._inputs = inputs
        self._clock = clock
        self._files: dict[tuple[str, str], UploadFile] = {}
        """Uploads by owner and id."""
        self._lock = threading.Lock()
        """Guards changes of ``_files``, because :meth:`write` removes rejected uploads on another event loop."""

    # ---- receiving

    async def create(
        self, subject: str, upload_id: str | None, name: str, size: int | None, expected_sha256: str | None = None
    ) -> UploadStatus:
        """Create an upload, or return the existing one with this id. The upload is durable on return.

        If ``upload_id`` is None, an id is generated. If ``size`` (in bytes) is None, the upload cannot be resumed:
        :meth:`write` receives it completely or not at all.

        Raises :class:`UsageError` if the id or ``expected_sha256`` is malformed, :class:`InvalidInputError` if the name
        is too long or ``size`` is not positive, :class:`ConflictError` if the id belongs to an upload of another file,
        and :class:`StorageError` if the file does not fit on the disk.
        """
        record = self._build_record(subject, upload_id or secrets.token_urlsafe(16), name, size, expected_sha256)
        file = self._get_or_register(record)
        _require_same_file(file.record, record)
        if file.record is record:
            await self._store_record(file)
        return _to_status(file)

    async def write(self, subject: str, upload_id: str, offset: int, chunks: AsyncIterator[bytes]) -> UploadStatus:
        """Receive the bytes of an upload from ``offset`` on; the last byte completes the upload.

        May be called on any event loop. If ``chunks`` fails with any error, the bytes received before are kept.

        Raises :class:`ConflictError` if ``offset`` is not the number of bytes received so far, and if a newer call for
        the same upload has replaced this one. Raises :class:`InvalidInputError` and deletes the upload if it is empty,
        longer than its size, or does not have the expected SHA-256.
        """
        file = self.find_file(subject, upload_id)
        try:
            turn = await run_uncancellable(partial(file.begin, offset))
            try:
                await write_stream(chunks, partial(file.write, turn), partial(file.make_durable, turn))
                if file.record.size is None:
                    await run_uncancellable(partial(file.complete, turn))
            finally:
                await run_uncancellable(partial(file.abort, turn))
        finally:
            if file.is_deleted:
                self._unregister(file)
        return _to_status(file)

    def get(self, subject: str, upload_id: str) -> UploadStatus:
        """Return the status of an upload. Raises :class:`NotFoundError` if ``subject`` has no upload with this id."""
        return _to_status(self.find_file(subject, upload_id))

    async def delete(self, subject: str, upload_id: str) -> None:
        """Delete an upload, even while it is being received. Content that a task has claimed is kept for that task."""
        await run_uncancellable(partial(self._drop, self.find_file(subject, upload_id)))

    def find_file(self, subject: str, upload_id: str) -> UploadFile:
        """Return the subject's upload with this id. Raises :class:`NotFoundError` if there is none."""
        file = self._files.get((subject, upload_id))
        if file is None or file.is_deleted:
            raise NotFoundError(
                f"Upload {escape_text(upload_id, 80)} not found.", "Start it again; uploads are kept for 24 hours."
            )
        return file

    # ---- for uploads that the artifact store receives

    @contextmanager
    def pinned_until_complete(self, file: UploadFile, sha256: str) -> Iterator[None]:
        """Keep the input with this SHA-256 in the block, and longer if the upload is complete then."""
        self._inputs.pin(_build_pin_id(file.record), sha256)
        try:
            yield
        finally:
            if file.is_deleted or file.record.sha256 != sha256:
                self._inputs.unpin(_build_pin_id(file.record), sha256)

    async def remove_slot(self, file: UploadFile) -> None:
        """Remove what the artifact store has received for this upload."""
        await run_uncancellable(partial(self._remove_slot, file.record))

    # ---- for tasks

    def resolve(self, subject: str, upload_ids: Iterable[str]) -> tuple[InputFile, ...]:
        """Return the uploads as input files of a task.

        Raises :class:`NotFoundError` if there is no such upload, and :class:`ConflictError` if one is not complete. The
        content of an upload may already be deleted, if the task that claimed it no longer needs it; then another task
        cannot be created with it.
        """
        return tuple(_to_input_file(_to_status(self.find_file(subject, upload_id))) for upload_id in upload_ids)

    async def claim(self, subject: str, upload_ids: Iterable[str]) -> None:
        """Record that a task has claimed the uploads, so that their content is kept only as long as tasks need it.

        Must be called after the task has been committed. No error is raised if an upload has been deleted meanwhile or
        its record cannot be written, because the task exists already.
        """
        for upload_id in upload_ids:
            file = self._files.get((subject, upload_id))
            if file is None:
                continue
            try:
                await run_uncancellable(file.claim)
            except SealyardError as error:
                log.warning("could not mark upload %s as claimed: %s", file.record.id, error)
            self._unpin(file)

    # ---- lifetime

    def recover(self) -> None:
        """Load the uploads that the previous engine left.

        Must be called when the engine starts, before unreferenced input files are deleted.
        """
        for record in self._upload_dir.records():
            file = self._files[record.owner, record.id] = self._create_file(record)
            if record.sha256 is not None and not record.claimed:
                self._inputs.pin(_build_pin_id(record), record.sha256)
                file.promote()
        for file in self._list_expired_files():
            self._drop(file)
        self._remove_orphaned_slots()

    async def sweep(self) -> None:
        """Delete all uploads created more than 24 hours ago, complete or not."""
        for file in self._list_expired_files():
            await run_uncancellable(partial(self._drop, file))
        await run_uncancellable(self._remove_orphaned_slots)

    def close(self) -> None:
        """Make the received bytes of all uploads durable, and end the calls of :meth:`write` in progress."""
        for file in list(self._files.values()):
            try:
                file.close()
            except SealyardError as error:
                log.warning("the last bytes of upload %s may be lost: %s", file.record.id, error)

    # ---- internals

    def _list_expired_files(self) -> list[UploadFile]:
        cutoff = self._clock.now() - UNCLAIMED_TTL
        return [file for file in list(self._files.values()) if file.record.created_at < cutoff]

    def _build_record(
        self, subject: str, upload_id: str, name: str, size: int | None, expected_sha256: str | None
    ) -> UploadRecord:
        if not _ID.fullmatch(upload_id):
            raise UsageError(
                f"Invalid upload ID {escape_text(upload_id, 80)}.", "Use 16 to 64 characters of A-Z a-z 0-9 _ -."
            )
        expected_digest = parse_sha256(expected_sha256) if expected_sha256 is not None else None
        if size is not None and size <= 0:
            raise InvalidInputError("The upload is empty.", "Choose a file with content.")
        base_name = to_utf8_name(name.replace("\\", "/").rpartition("/")[2]) or upload_id
        check_name_length(base_name)
        return UploadRecord(
            id=upload_id,
            owner=subject,
            name=base_name,
            size=size,
            expected_sha256=expected_digest,
            created_at=self._clock.now(),
        )

    def _get_or_register(self, record: UploadRecord) -> UploadFile:
        """Return the upload with this owner and id, or register a new one."""
        with self._lock:
            existing_file = self._files.get((record.owner, record.id))
            if existing_file is not None and not existing_file.is_deleted:
                return existing_file
            file = self._files[record.owner, record.id] = self._create_file(record)
            return file

    async def _store_record(self, file: UploadFile) -> None:
        """Store the record of a new upload. If that fails or the upload does not fit on the disk, delete the upload."""
        try:
            self._artifacts.check_free_space(file.record.size or 0)
            await run_uncancellable(file.store)
        except SealyardError:
            self._drop(file)
            raise

    def _create_file(self, record: UploadRecord) -> UploadFile:
        return UploadFile(self._upload_dir, record, self._promote)

    def _promote(self, record: UploadRecord, content: Path) -> None:
        """Move the content of a complete upload to the input store.

        The content is pinned first, because identical content may be deleted from the store at the same time.
        """
        assert record.sha256 is not None
        self._inputs.pin(_build_pin_id(record), record.sha256)
        self._artifacts.move_in(content, record.sha256)
        self._remove_slot(record)

    def _drop(self, file: UploadFile) -> None:
        file.drop()
        self._unregister(file)
        if not file.record.sha256:
            self._remove_slot(file.record)

    def _remove_slot(self, record: UploadRecord) -> None:
        """Remove what the artifact store has received. If that fails, :meth:`sweep` does it after a day."""
        if record.slot is not None and self._direct is not None:
            try:
                self._direct.remove(record.slot)
            except SealyardError as error:
                log.warning("could not remove upload %s from the object store: %s", record.id, error)

    def _remove_orphaned_slots(self) -> None:
        """Remove what the artifact store has received of uploads that were deleted meanwhile."""
        if self._direct is None:
            return
        slots = (file.record.slot for file in list(self._files.values()))
        try:
            self._direct.remove_orphans({slot.object_id for slot in slots if slot is not None})
        except SealyardError as error:
            log.warning("could not remove deleted uploads from the object store: %s", error)

    def _unregister(self, file: UploadFile) -> None:
        """Remove a deleted upload from the registry, and unpin its content."""
        key = (file.record.owner, file.record.id)
        with self._lock:
            if self._files.get(key) is file:
                del self._files[key]
        self._unpin(file)

    def _unpin(self, file: UploadFile) -> None:
        if file.record.sha256 is not None:
            self._inputs.unpin(_build_pin_id(file.record), file.record.sha256)


def _require_same_file(existing_record: UploadRecord, requested_record: UploadRecord) -> None:
    """Raise :class:`ConflictError` if a request to create an upload refers to another file than the existing upload."""
    if existing_record.size != requested_record.size or requested_record.expected_sha256 not in (
        None,
        existing_record.expected_sha256,
    ):
        raise ConflictError(f"Upload {existing_record.id} belongs to a different file.", "Choose another ID.")


def _to_status(file: UploadFile) -> UploadStatus:
    # Read the offset and the state before the record, so that they are never newer than the record.
    offset, is_complete = file.bytes_received, file.is_complete
    record = file.record
    return UploadStatus(
        id=record.id,
        name=record.name,
        size=record.offset if is_complete else record.size,
        offset=record.offset if is_complete else offset,
        sha256=record.sha256 if is_complete else None,
        complete=is_complete,
    )


def _to_input_file(upload: UploadStatus) -> InputFile:
    """Return a complete upload as an input file. Raises :class:`ConflictError` if it is not complete."""
    if upload.sha256 is None and upload.offset == upload.size:
        raise ConflictError(
            f"Upload {upload.id} was received, but could not be stored yet.", "Continue it without further bytes."
        )
    if upload.sha256 is None:
        total = f" of {upload.size:,}" if upload.size is not None else ""
        received = f"{format_count(upload.offset, 'byte')}{total}"
        raise ConflictError(f"Upload {upload.id} is not complete: {received} received.", "Upload the rest first.")
    return InputFile(name=upload.name, size=upload.offset, sha256=upload.sha256)


def _build_pin_id(record: UploadRecord) -> str:
    """Return the pin id of an upload. It contains the creation time, because an upload id can be used again."""
    return f"upload {record.owner} {record.id} {record.created_at.isoformat()}"
