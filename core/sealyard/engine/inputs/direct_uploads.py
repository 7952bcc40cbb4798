"""Uploads that clients send to the artifact store themselves, with grants that expire."""

from __future__ import annotations

import asyncio
from functools import partial

from sealyard.concurrency.threads import run_cancellable, run_uncancellable
from sealyard.engine.inputs.uploads import UploadService
from sealyard.model.digests import parse_sha256
from sealyard.model.errors import ConflictError, DirectUploadUnavailableError, InputMismatchError, InvalidInputError
from sealyard.model.grants import DirectUpload, UploadGrant
from sealyard.model.requests import UploadStatus
from sealyard.storage.artifacts import ArtifactStore
from sealyard.storage.direct_uploads import DirectSlot, DirectUploadStore
from sealyard.storage.upload_file import UploadFile

GRANT_SECONDS = 900
"""How long a grant is valid. A request that began before may finish later."""

WAIT_SECONDS = 20.0
"""How long :meth:`DirectUploads.complete` waits: proxies end requests that are not answered within a minute."""


class DirectUploads:
    """Lets the owner of an upload send its content to the artifact store. Must be used on the engine's event loop.

    The upload is one of :class:`UploadService`, which also receives its content if the client cannot reach the store.
    """

    def __init__(self, uploads: UploadService, artifacts: ArtifactStore) -> None:
        self._uploads = uploads
        self._artifacts = artifacts
        self._completions: dict[str, asyncio.Task[None]] = {}
        """Completions in progress, and those whose result no client has received yet, by object id."""

    async def begin(
        self, subject: str, upload_id: str, name: str, size: int, expected_sha256: str | None
    ) -> DirectUpload:
        """Create an upload, or continue the existing one with this id, and return in which parts to send it.

        Raises :class:`DirectUploadUnavailableError` if the artifact store receives no uploads from clients, and the
        errors of :meth:`UploadService.create`.
        """
        store = self._require_store()
        await self._uploads.create(subject, upload_id, name, size, expected_sha256)
        file = self._uploads.find_file(subject, upload_id)
        slot = file.record.slot
        if slot is None:
            # In one step: if the request is cancelled in between, the store would keep an upload that nothing knows.
            slot = await run_uncancellable(lambda: file.set_slot(store.begin(size)))
        return DirectUpload(parts=slot.parts, part_size=slot.part_size)

    async def grant(self, subject: str, upload_id: str, part: int, sha256: str) -> UploadGrant:
        """Return a grant to send one part with this SHA-256; the first part has the number 1.

        Raises :class:`NotFoundError` if there is no such upload, :class:`UsageError` if the digest is malformed,
        :class:`InvalidInputError` if there is no such part, :class:`InputMismatchError` if the only part does not have
        the expected digest of the file, and :class:`ConflictError` if :meth:`begin` was not called.
        """
        file = self._uploads.find_file(subject, upload_id)
        slot, digest = _require_slot(file), parse_sha256(sha256)
        if not 1 <= part <= slot.parts:
            raise InvalidInputError(f"The upload has no part {part}.", f"Use 1 to {slot.parts}.")
        if slot.parts == 1:
            _check_expected_digest(file, digest)
        grant = await asyncio.to_thread(self._require_store().grant, slot, part, digest, GRANT_SECONDS)
        return UploadGrant(url=grant.url, headers=grant.headers, expires_at=grant.expires_at)

    async def complete(self, subject: str, upload_id: str, sha256: str) -> UploadStatus:
        """Verify what the store has received, so that tasks can use it. A completed upload is returned as it is.

        Verifying a large file takes longer than a request may: if the returned status is not complete, the call must
        be repeated. Raises :class:`NotFoundError` if there is no such upload, :class:`UsageError` if the digest is
        malformed, :class:`ConflictError` if not all parts were received, and :class:`InputMismatchError` if the content
        or the expected digest of the upload is another one.
        """
        file = self._uploads.find_file(subject, upload_id)
        slot, digest = _require_slot(file), parse_sha256(sha256)
        _check_expected_digest(file, file.record.sha256 or digest)
        if file.record.sha256 not in (None, digest):
            raise InputMismatchError("The upload has another SHA-256.", "Upload the file again.")
        if file.is_complete:
            return self._uploads.get(subject, upload_id)
        completion = self._completions.get(slot.object_id)
        if completion is None:
            work = self._complete(self._require_store(), file, slot, digest)
            completion = self._completions[slot.object_id] = asyncio.create_task(work)
        await asyncio.wait({completion}, timeout=WAIT_SECONDS)
        if completion.done():
            self._completions.pop(slot.object_id, None)
            if not completion.cancelled():
                completion.result()
        return self._uploads.get(subject, upload_id)

    async def close(self) -> None:
        """End the completions in progress. Clients repeat them at the next engine."""
        for completion in self._completions.values():
            completion.cancel()
        await asyncio.gather(*self._completions.values(), return_exceptions=True)

    async def _complete(self, store: DirectUploadStore, file: UploadFile, slot: DirectSlot, sha256: str) -> None:
        with self._uploads.pinned_until_complete(file, sha256):
            await run_cancellable(partial(store.store_input, slot, sha256))
            await run_uncancellable(partial(file.complete_directly, sha256))
        await self._uploads.remove_slot(file)

    def _require_store(self) -> DirectUploadStore:
        remote = self._artifacts.remote
        if remote is None or remote.direct is None:
            raise direct_upload_unavailable_error()
        return remote.direct


def direct_upload_unavailable_error() -> DirectUploadUnavailableError:
    return DirectUploadUnavailableError(
        "Uploads pass through the server.", "Send the content of the file to the server."
    )


def _require_slot(file: UploadFile) -> DirectSlot:
    slot = file.record.slot
    if slot is None:
        raise ConflictError(f"Upload {file.record.id} is not sent to the object store.", "Begin the upload first.")
    return slot


def _check_expected_digest(file: UploadFile, sha256: str) -> None:
    if file.record.expected_sha256 not in (None, sha256):
        raise InputMismatchError("The file does not have the expected SHA-256.", "Choose the right file.")
