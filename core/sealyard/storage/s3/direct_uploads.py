"""Uploads that clients send to the bucket: received under random keys, verified, and copied to the key of the digest.

A grant never names the key of an input: a client that knows only the digest of a file must not be able to use it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from secrets import token_hex

from sealyard.concurrency.threads import CheckCancelled
from sealyard.fs.hashing import file_sha256
from sealyard.model.errors import ConflictError, InputMismatchError
from sealyard.model.grants import ContentPart, Grant
from sealyard.storage.direct_uploads import DirectSlot
from sealyard.storage.s3.bucket import Bucket, ObjectStatus
from sealyard.storage.s3.errors import ObjectMissingError

MAX_SINGLE_BYTES = 5 << 30
"""Largest object that S3 stores in one request."""

MIN_PART_BYTES = 64 << 20
MAX_PARTS = 10_000

MIN_ORPHAN_AGE = timedelta(hours=25)
"""Uploads are kept for 24 hours; a grant of the last minutes may be used a little later."""


class S3DirectUploads:
    """:class:`~sealyard.storage.direct_uploads.DirectUploadStore` in a bucket that verifies digests."""

    def __init__(
        self,
        bucket: Bucket,
        folder: str,
        add_input: Callable[[str, str, ObjectStatus, CheckCancelled], None],
        *,
        single_bytes: int = MAX_SINGLE_BYTES,
        part_bytes: int = MIN_PART_BYTES,
    ) -> None:
        """``folder``: beginning of the keys, with a slash. ``add_input``: copies an object (key) to the inputs."""
        self._bucket = bucket
        self._folder = folder
        self._add_input = add_input
        self._single_bytes = single_bytes
        self._part_bytes = part_bytes

    def begin(self, size: int) -> DirectSlot:
        object_id = token_hex(16)
        if size <= self._single_bytes:
            return DirectSlot(object_id=object_id, size=size, part_size=size)
        response = self._bucket.call(
            "create_multipart_upload", "s3:PutObject", Key=self._key(object_id), ChecksumAlgorithm="SHA256"
        )
        part_size = max(self._part_bytes, -(-size // MAX_PARTS))
        return DirectSlot(object_id=object_id, size=size, part_size=part_size, multipart_id=response["UploadId"])

    def grant(self, slot: DirectSlot, part: int, sha256: str, seconds: int) -> Grant:
        key, size = self._key(slot.object_id), slot.length_of(part)
        if not slot.multipart_id:
            return self._bucket.presign_put(key, seconds, sha256, size=size)
        return self._bucket.presign_part(key, slot.multipart_id, part, seconds, ContentPart(sha256=sha256, size=size))

    def store_input(self, slot: DirectSlot, sha256: str, check_cancelled: CheckCancelled) -> None:
        key = self._key(slot.object_id)
        if slot.multipart_id:
            self._complete_parts(slot, key)
        status = self._bucket.status(key)
        if status is None:
            raise _incomplete_error("nothing was received")
        if status.size != slot.size or self._digest_of(key, status, check_cancelled) != sha256:
            raise InputMismatchError("The object store received other content.", "Upload the file again.")
        self._add_input(sha256, key, status, check_cancelled)

    def remove(self, slot: DirectSlot) -> None:
        key = self._key(slot.object_id)
        if slot.multipart_id:
            self._bucket.abort_upload(key, slot.multipart_id)
        self._bucket.delete(key)

    def remove_orphans(self, kept_ids: Collection[str]) -> None:
        oldest = datetime.now(UTC) - MIN_ORPHAN_AGE
        kept_keys = {self._key(object_id) for object_id in kept_ids}
        for stored_object in self._bucket.objects(self._folder):
            if stored_object.key not in kept_keys and stored_object.modified_at < oldest:
                self._bucket.delete(stored_object.key)
        for upload in self._bucket.interrupted_uploads(self._folder):
            if upload.key not in kept_keys and upload.started_at < oldest:
                self._bucket.abort_upload(upload.key, upload.upload_id)

    def _complete_parts(self, slot: DirectSlot, key: str) -> None:
        """Join the parts. Does nothing if an earlier call did it, or the upload was aborted."""
        try:
            received = tuple(self._bucket.parts(key, slot.multipart_id))
            sizes = {part.number: part.size for part in received}
            missing = sum(sizes.get(number) != slot.length_of(number) for number in range(1, slot.parts + 1))
            if missing or len(sizes) != slot.parts:
                raise _incomplete_error(f"{missing} of {slot.parts} parts are missing")
            self._bucket.complete_upload(key, slot.multipart_id, received)
        except ObjectMissingError:
            return

    def _digest_of(self, key: str, status: ObjectStatus, check_cancelled: CheckCancelled) -> str:
        """Return the digest (hex) that the store has verified; that of parts says nothing about the whole file."""
        if status.sha256 is not None:
            return status.sha256
        with self._bucket.open(key) as file:
            return file_sha256(file, check_cancelled)

    def _key(self, object_id: str) -> str:
        return self._folder + object_id


def _incomplete_error(reason: str) -> ConflictError:
    return ConflictError(f"The upload is not complete: {reason}.", "Upload the rest first.")
