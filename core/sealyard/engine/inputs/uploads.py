"""Files that come in piece by piece from a server's callers: begun, received, gone on with, and given to tasks."""

from __future__ import annotations

import logging
import re
import secrets
import threading
from collections.abc import AsyncIterator, Iterable
from functools import partial
from pathlib import Path

from sealyard.engine.inputs.store import UNCLAIMED_TTL, InputStore, check_name_length, to_utf8_name
from sealyard.engine.inputs.stream_writer import run_uncancellable, write_stream
from sealyard.model.clock import Clock
from sealyard.model.errors import ConflictError, InvalidInputError, NotFoundError, SealyardError, UsageError
from sealyard.model.requests import UploadStatus
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import InputFile
from sealyard.storage.artifacts import ArtifactStore
from sealyard.storage.upload_dir import UploadDir, UploadRecord
from sealyard.storage.upload_file import UploadFile

_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")

log = logging.getLogger(__name__)


class UploadService:
    """An upload belongs to the subject who began it; to others there is none: :class:`NotFoundError`.

    All of it is to be called on the engine's loop, but for :meth:`receive`, which belongs on the loop its chunks
    come from. An upload is remembered for 24 hours from its beginning, so that asking for a task twice names the
    same files twice; its content stays until a task has it, and then for as long as that task needs it.
    """

    def __init__(self, folder: UploadDir, artifacts: ArtifactStore, inputs: InputStore, clock: Clock) -> None:
        self._folder = folder
        self._artifacts = artifacts
        self._inputs = inputs
        self._clock = clock
        self._files: dict[tuple[str, str], UploadFile] = {}
        """By owner and id."""
        self._lock = threading.Lock()
        """Over changes of it: an upload that turns out wrong is forgotten on the loop that received it."""

    # ---- coming in

    async def create(
        self, subject: str, upload_id: str | None, name: str, size: int | None, expected_sha256: str | None = None
    ) -> UploadStatus:
        """A new upload, or the one of this id as it stands: durable on return. ``upload_id`` None: one is made up.

        ``size`` (bytes) None: nobody will go on with it, :meth:`receive` takes it whole or not at all. Raises
        :class:`UsageError`, :class:`InvalidInputError`, :class:`ConflictError` where the id stands for another file,
        and
        :class:`StorageError` where it obviously does not fit on the disk.
        """
        record = self._record(subject, upload_id or secrets.token_urlsafe(16), name, size, expected_sha256)
        file = self._remembered(record)
        _require_same(file.record, record)
        if file.record is record:
            await self._store(file)
        return _to_status(file)

    async def write(self, subject: str, upload_id: str, offset: int, chunks: AsyncIterator[bytes]) -> UploadStatus:
        """Takes what comes from ``offset`` on; the upload is complete with its last byte. For any loop.

        Where the chunks break off, by whatever error, what came stays. Raises :class:`ConflictError` for another
        offset than the upload's, and where a newer call for the same upload has taken over; :class:`InvalidInputError`,
        and nothing is left of the upload, for no bytes, too many, or others than were expected.
        """
        file = self._find(subject, upload_id)
        try:
            turn = await run_uncancellable(partial(file.begin, offset))
            try:
                await write_stream(chunks, partial(file.write, turn), partial(file.make_durable, turn))
                if file.record.size is None:
                    await run_uncancellable(partial(file.complete, turn))
            finally:
                await run_uncancellable(partial(file.abort, turn))
        finally:
            if file.deleted:
                self._unregister(file)
        return _to_status(file)

    def get(self, subject: str, upload_id: str) -> UploadStatus:
        return _to_status(self._find(subject, upload_id))

    async def delete(self, subject: str, upload_id: str) -> None:
        """Also while it is received, and after a task has its content: the task keeps that."""
        await run_uncancellable(partial(self._drop, self._find(subject, upload_id)))

    # ---- for tasks

    def resolve(self, subject: str, upload_ids: Iterable[str]) -> tuple[InputFile, ...]:
        """What a task names its files by. Raises :class:`ConflictError` for an upload that is not complete.

        Content that a task had and needs no more is not there any more: creating a task says so then.
        """
        return tuple(_input(_to_status(self._find(subject, each))) for each in upload_ids)

    async def claim(self, subject: str, upload_ids: Iterable[str]) -> None:
        """To be called once a task has the files: from now on their content stays for the task's sake alone.

        The task is there: an upload that is gone by now, or cannot be written to, is no error.
        """
        for each in upload_ids:
            file = self._files.get((subject, each))
            if file is None:
                continue
            try:
                await run_uncancellable(file.claim)
            except SealyardError as error:
                log.warning("the upload %s is remembered as unclaimed: %s", file.record.id, error)
            self._let_go(file)

    # ---- over time

    def recover(self) -> None:
        """At start, and blocking: finds what the last engine has left, before what nobody holds is dropped."""
        for record in self._folder.records():
            file = self._files[record.owner, record.id] = self._file(record)
            if record.sha256 is not None and not record.claimed:
                self._inputs.pin(_holder(record), record.sha256)
                file.promote()
        for file in self._is_expired():
            self._drop(file)

    async def sweep(self) -> None:
        """Drops what was begun 24 hours ago, whatever became of it."""
        for file in self._is_expired():
            await run_uncancellable(partial(self._drop, file))

    def close(self) -> None:
        """Makes durable what came, and takes no more. Blocks."""
        for file in list(self._files.values()):
            try:
                file.close()
            except SealyardError as error:
                log.warning("what came last of the upload %s may be lost: %s", file.record.id, error)

    # ---- inside

    def _is_expired(self) -> list[UploadFile]:
        oldest = self._clock.now() - UNCLAIMED_TTL
        return [each for each in list(self._files.values()) if each.record.created_at < oldest]

    def _record(
        self, subject: str, upload_id: str, name: str, size: int | None, expected_sha256: str | None
    ) -> UploadRecord:
        if not _ID.fullmatch(upload_id):
            raise UsageError(
                f"{escape_text(upload_id, 80)} is no id for an upload.", "Take 16 to 64 of A-Z a-z 0-9 _ -."
            )
        if expected_sha256 is not None and not _SHA256.fullmatch(expected_sha256):
            raise UsageError(f"{escape_text(expected_sha256, 80)} is no SHA-256 in hex.")
        if size is not None and size <= 0:
            raise InvalidInputError("The upload is empty.", "Send a file with content.")
        base = to_utf8_name(name.replace("\\", "/").rpartition("/")[2]) or upload_id
        check_name_length(base)
        return UploadRecord(
            id=upload_id,
            owner=subject,
            name=base,
            size=size,
            expected_sha256=expected_sha256.lower() if expected_sha256 is not None else None,
            created_at=self._clock.now(),
        )

    def _remembered(self, record: UploadRecord) -> UploadFile:
        """The upload of this owner and id, or a new one."""
        with self._lock:
            known = self._files.get((record.owner, record.id))
            if known is not None and not known.deleted:
                return known
            file = self._files[record.owner, record.id] = self._file(record)
            return file

    async def _store(self, file: UploadFile) -> None:
        try:
            self._artifacts.check_free_space(file.record.size or 0)
            await run_uncancellable(file.store)
        except SealyardError:
            self._drop(file)
            raise

    def _file(self, record: UploadRecord) -> UploadFile:
        return UploadFile(self._folder, record, self._promote)

    def _promote(self, record: UploadRecord, content: Path) -> None:
        """Held before it is there: the same content may be dropped at this very moment."""
        assert record.sha256 is not None
        self._inputs.pin(_holder(record), record.sha256)
        self._artifacts.move_in(content, record.sha256)

    def _find(self, subject: str, upload_id: str) -> UploadFile:
        file = self._files.get((subject, upload_id))
        if file is None or file.deleted:
            raise NotFoundError(
                f"There is no upload {escape_text(upload_id, 80)}.", "Uploads are kept for 24 hours; begin it again."
            )
        return file

    def _drop(self, file: UploadFile) -> None:
        file.drop()
        self._unregister(file)

    def _unregister(self, file: UploadFile) -> None:
        key = (file.record.owner, file.record.id)
        with self._lock:
            if self._files.get(key) is file:
                del self._files[key]
        self._let_go(file)

    def _let_go(self, file: UploadFile) -> None:
        if file.record.sha256 is not None:
            self._inputs.unpin(_holder(file.record), file.record.sha256)


def _require_same(known: UploadRecord, asked: UploadRecord) -> None:
    if known.size != asked.size or asked.expected_sha256 not in (None, known.expected_sha256):
        raise ConflictError(f"The upload {known.id} is of another file.", "Choose another id.")


def _to_status(file: UploadFile) -> UploadStatus:
    # In this order: all bytes are told of only once the record says that they are whole.
    offset, record = file.received, file.record
    complete = record.sha256 is not None
    return UploadStatus(
        id=record.id,
        name=record.name,
        size=record.offset if complete else record.size,
        offset=record.offset if complete else offset,
        sha256=record.sha256,
        complete=complete,
    )


def _input(upload: UploadStatus) -> InputFile:
    if upload.sha256 is None:
        whole = f" of {upload.size:,}" if upload.size is not None else ""
        raise ConflictError(
            f"The upload {upload.id} is not complete: {upload.offset:,}{whole} bytes are here.", "Send the rest first."
        )
    return InputFile(name=upload.name, size=upload.offset, sha256=upload.sha256)


def _holder(record: UploadRecord) -> str:
    """With its time: an id may stand for one upload after another."""
    return f"upload {record.owner} {record.id} {record.created_at.isoformat()}"
