"""Store input files by their digest, and delete those that neither an unfinished task nor an upload needs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path

from sealyard.fs.source_file import to_utf8_name
from sealyard.model.clock import Clock
from sealyard.model.errors import InputMismatchError, InvalidInputError, NotFoundError
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import InputFile, Task
from sealyard.storage.artifacts import ArtifactStore, RemoteArtifacts, StoredInput

MAX_FILE_NAME_LENGTH = 255
"""Maximum length of a file name in characters; common file systems allow no more."""

UNCLAIMED_TTL = timedelta(hours=24)
"""How long an upload is kept until a task claims it."""


class InputStore:
    """Tracks which tasks and uploads need the stored input files, and which uploads no task has claimed yet.

    Must be used on the engine's event loop only, except :meth:`pin` and :meth:`unpin`, which any thread may call.
    """

    def __init__(self, artifacts: ArtifactStore, clock: Clock) -> None:
        self._artifacts = artifacts
        self._clock = clock
        self._lock = threading.Lock()
        """Guards the two dictionaries below, and the deletion of files that neither of them contains."""
        self._pins: dict[str, set[str]] = {}
        """By digest: ids of the tasks that need the file, and pin ids of the uploads that need it."""
        self._unclaimed_uploads: dict[str, list[datetime]] = {}
        """By digest: times of the uploads that no task has claimed, oldest first.

        Several uploads can have the same content.
        """

    async def ingest(
        self, path: Path, expected_sha256: str | None, progress: Callable[[int], None] | None
    ) -> InputFile:
        """Hash and store a file, as an upload that a task can claim.

        Raises the errors of :meth:`sealyard.storage.artifacts.ArtifactStore.ingest`.
        """
        stored_input = await self._ingest_unclaimed(lambda: self._artifacts.ingest(path, progress, expected_sha256))
        return InputFile(name=to_utf8_name(path.name), size=stored_input.size, sha256=stored_input.sha256)

    async def ingest_bytes(self, name: str, data: bytes) -> InputFile:
        """Store ``data`` in the same way as :meth:`ingest` stores a file."""
        stored_input = await self._ingest_unclaimed(lambda: self._artifacts.ingest_bytes(data))
        return InputFile(name=to_utf8_name(name), size=stored_input.size, sha256=stored_input.sha256)

    def require(self, files: Iterable[InputFile]) -> None:
        """Raise :class:`InputMismatchError` if a file is not (or no longer) stored, or has another size.

        Files with inline content are rejected: a worker would use the inline content, while an approver sees the
        stored file.
        """
        for file in files:
            if file.inline is not None:
                raise InputMismatchError(
                    f"{escape_text(file.name, 100)} has not been uploaded.", "Upload the file first."
                )
            try:
                size = self._artifacts.input_size(file.sha256)
            except NotFoundError:
                size = -1
            if size != file.size:
                raise InputMismatchError(
                    f"{escape_text(file.name, 100)} is no longer stored.", "Upload the file again."
                )

    def acquire(self, task: Task) -> tuple[str, ...]:
        """Keep the task's inputs until :meth:`release`, and claim an unclaimed upload of each, if there is one.

        Returns the digests of the claimed uploads, which the caller passes to :meth:`undo_acquire` if necessary.
        """
        with self._lock:
            for digest in _collect_stored_digests(task):
                self._pins.setdefault(digest, set()).add(task.id)
            return tuple(file.sha256 for file in (*task.inputs, *task.metadata) if self._claim_upload(file.sha256))

    def release(self, task: Task) -> None:
        """Stop keeping the task's inputs, and delete those that no other task or upload needs."""
        with self._lock:
            for digest in _collect_stored_digests(task):
                self._pins.get(digest, set()).discard(task.id)
            self._delete_unreferenced(_collect_stored_digests(task))

    def pin(self, pin_id: str, digest: str) -> None:
        """Keep the file with this digest until :meth:`unpin` with ``pin_id``, even if it is not stored yet."""
        with self._lock:
            self._pins.setdefault(digest, set()).add(pin_id)

    def unpin(self, pin_id: str, digest: str) -> None:
        """Remove a pin, and delete the file if no task or other upload needs it."""
        with self._lock:
            self._pins.get(digest, set()).discard(pin_id)
            self._delete_unreferenced({digest})

    def undo_acquire(self, task: Task, claimed_digests: Iterable[str]) -> None:
        """Undo :meth:`acquire` after the task could not be committed.

        The uploads in ``claimed_digests``, which :meth:`acquire` returned, are unclaimed again.
        """
        with self._lock:
            for digest in claimed_digests:
                self._unclaimed_uploads.setdefault(digest, []).append(self._clock.now())
        self.release(task)

    def discard(self, files: Iterable[InputFile]) -> None:
        """Give up one unclaimed upload of each file, and delete the files that no task or other upload needs."""
        with self._lock:
            for file in files:
                self._claim_upload(file.sha256)
                self._delete_unreferenced({file.sha256})

    def sweep(self) -> None:
        """Delete the uploads that no task has claimed within :data:`UNCLAIMED_TTL`."""
        cutoff = self._clock.now() - UNCLAIMED_TTL
        with self._lock:
            expired_digests = [
                digest
                for digest, upload_times in self._unclaimed_uploads.items()
                for uploaded_at in upload_times
                if uploaded_at < cutoff
            ]
            for digest in expired_digests:
                self._claim_upload(digest)
            self._delete_unreferenced(expired_digests)

    def remove_unreferenced(self, stored_digests: Iterable[str]) -> None:
        """Delete those of the stored files that no task or upload needs.

        Called when the engine starts, because a previous engine may have left such files. In a remote store, they are
        kept for :data:`UNCLAIMED_TTL`, like uploads.
        """
        digests = set(stored_digests)
        if self._artifacts.remote is not None:
            self._restore_unclaimed(digests, self._artifacts.remote)
        with self._lock:
            self._delete_unreferenced(digests)
        self.sweep()

    def _restore_unclaimed(self, digests: Iterable[str], artifacts: RemoteArtifacts) -> None:
        """Treat the stored files that nothing refers to as uploads that no task has claimed."""
        with self._lock:
            for digest in digests:
                if not self._pins.get(digest) and (uploaded_at := artifacts.uploaded_at(digest)) is not None:
                    self._unclaimed_uploads.setdefault(digest, []).append(uploaded_at)

    async def _ingest_unclaimed(self, ingest: Callable[[], StoredInput]) -> StoredInput:
        """Store a file as an unclaimed upload. Store it again if the same content is deleted concurrently."""
        while True:
            stored_input = await asyncio.to_thread(ingest)
            with self._lock:
                self._unclaimed_uploads.setdefault(stored_input.sha256, []).append(self._clock.now())
                if self._is_stored(stored_input.sha256):
                    return stored_input
                self._claim_upload(stored_input.sha256)

    def _is_stored(self, digest: str) -> bool:
        try:
            self._artifacts.input_size(digest)
        except NotFoundError:
            return False
        return True

    def _claim_upload(self, digest: str) -> bool:
        """Claim the oldest unclaimed upload of this content; return whether there was one."""
        upload_times = self._unclaimed_uploads.pop(digest, [])
        if upload_times[1:]:
            self._unclaimed_uploads[digest] = upload_times[1:]
        return bool(upload_times)

    def _delete_unreferenced(self, digests: Iterable[str]) -> None:
        """Delete the files that no pin and no unclaimed upload refers to. The caller holds the lock."""
        for digest in digests:
            if not self._pins.get(digest) and digest not in self._unclaimed_uploads:
                self._pins.pop(digest, None)
                self._artifacts.delete_input(digest)


def _collect_stored_digests(task: Task) -> set[str]:
    """Return the digests of the task's inputs that are stored as files."""
    return {file.sha256 for file in (*task.inputs, *task.metadata) if file.inline is None}


def check_name_length(name: str) -> None:
    """Raise :class:`InvalidInputError` if a file name is too long."""
    if len(name) > MAX_FILE_NAME_LENGTH:
        raise InvalidInputError(
            f"A file name can have at most {MAX_FILE_NAME_LENGTH} characters.", "Choose a shorter name."
        )
