"""Store files as objects: in one request, or in parts."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from pathlib import Path

from sealyard.concurrency.threads import CheckCancelled
from sealyard.fs import atomic
from sealyard.fs.regular_file import open_regular
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import ArtifactStoreError, IntegrityError
from sealyard.storage.s3.bucket import Bucket
from sealyard.storage.s3.errors import DigestRejectedError, ObjectExistsError, ObjectMissingError

SINGLE_BYTES = 128 << 20
"""Largest file that is stored in one request: a failed request is repeated from the start."""

PART_BYTES = 16 << 20
MAX_PARTS = 10_000


class StoreGuarantees(FrozenStruct, frozen=True, kw_only=True):
    """What the object store does, as a probe has found out.

    ``checks_digests``: it rejects content with another SHA-256 than that of the request. ``keeps_existing``: it does
    not replace an object if the request says so.
    """

    checks_digests: bool = True
    keeps_existing: bool = True


class ObjectUploader:
    """Stores files under keys. May be used from any thread; all methods block."""

    def __init__(self, bucket: Bucket, guarantees: StoreGuarantees, *, single_bytes: int, part_bytes: int) -> None:
        self._bucket = bucket
        self._guarantees = guarantees
        self._single_bytes = single_bytes
        self._part_bytes = part_bytes

    def upload(
        self, key: str, path: Path, sha256: str, check_cancelled: CheckCancelled, *, repair: bool = False
    ) -> None:
        """Store the file. Returns once the object has the digest ``sha256``; an equal object is not stored again.

        ``repair``: whether an existing object with other content is replaced. Otherwise, raises
        :class:`IntegrityError`. Also raises it if the file has another digest, and :class:`ArtifactStoreError` if the
        store does not answer or refuses the request.
        """
        try:
            with os.fdopen(open_regular(path), "rb") as file:
                size = os.fstat(file.fileno()).st_size
                try:
                    self._put(key, file.fileno(), size, sha256, check_cancelled, replace=False)
                except ObjectExistsError:
                    if self._bucket.has_content(key, size, sha256):
                        return
                    if not repair:
                        raise _other_content_error() from None
                    self._put(key, file.fileno(), size, sha256, check_cancelled, replace=True)
        except DigestRejectedError:
            raise IntegrityError(
                "The file on disk changed before it was stored.", "Check which programs can write to the workspace."
            ) from None
        except OSError as error:
            raise atomic.storage_error(error, "reading the file to store") from error
        if not self._guarantees.checks_digests and not self._bucket.has_content(key, size, sha256, read_back=True):
            self._bucket.delete(key)
            raise ArtifactStoreError(f"{self._bucket.place} stored other bytes than it received.", "Check the store.")

    def _put(
        self, key: str, fd: int, size: int, sha256: str, check_cancelled: CheckCancelled, *, replace: bool
    ) -> None:
        if not replace and not self._guarantees.keeps_existing and self._bucket.status(key) is not None:
            raise ObjectExistsError
        os.lseek(fd, 0, os.SEEK_SET)
        if size > self._single_bytes:
            self._put_parts(key, fd, size, sha256, check_cancelled, replace=replace)
            return
        with os.fdopen(os.dup(fd), "rb") as file:
            self._bucket.put(key, file, sha256, replace=replace)

    def _put_parts(
        self, key: str, fd: int, size: int, sha256: str, check_cancelled: CheckCancelled, *, replace: bool
    ) -> None:
        """Store a large file. The store checks each part, and this method the digest of all bytes that it sent."""
        parameters = {"Key": key, "ChecksumAlgorithm": "SHA256"}
        upload_id = self._bucket.call("create_multipart_upload", "s3:PutObject", **parameters)["UploadId"]
        try:
            parts = self._send_parts(key, upload_id, fd, size, sha256, check_cancelled)
            condition = {} if replace else {"IfNoneMatch": "*"}
            self._bucket.call(
                "complete_multipart_upload",
                "s3:PutObject",
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": parts},
                **condition,
            )
        except ObjectMissingError:  # NoSuchUpload: an earlier attempt completed it, or an administrator aborted it
            if not self._bucket.has_content(key, size, sha256):
                raise ArtifactStoreError(f"{self._bucket.place} has dropped an upload.", "Try again.") from None
        except BaseException:
            self._abort(key, upload_id)
            raise

    def _send_parts(
        self, key: str, upload_id: str, fd: int, size: int, sha256: str, check_cancelled: CheckCancelled
    ) -> list[dict[str, object]]:
        """Send all parts, and return them for the completion. Raises :class:`DigestRejectedError` before that."""
        part_bytes = max(self._part_bytes, -(-size // MAX_PARTS))
        hasher = hashlib.sha256()
        parts: list[dict[str, object]] = []
        with os.fdopen(os.dup(fd), "rb") as file:
            while data := file.read(part_bytes):
                hasher.update(data)
                checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
                number = len(parts) + 1
                response = self._bucket.call(
                    "upload_part",
                    "s3:PutObject",
                    Key=key,
                    UploadId=upload_id,
                    PartNumber=number,
                    Body=data,
                    ChecksumSHA256=checksum,
                )
                parts.append({"PartNumber": number, "ETag": response["ETag"], "ChecksumSHA256": checksum})
                check_cancelled(len(data))
        if hasher.hexdigest() != sha256:
            raise DigestRejectedError
        return parts

    def _abort(self, key: str, upload_id: str) -> None:
        """Abort an upload. If that fails, a later start or the lifecycle rule of the bucket removes the parts."""
        with contextlib.suppress(ArtifactStoreError):
            self._bucket.abort_upload(key, upload_id)


def _other_content_error() -> IntegrityError:
    return IntegrityError(
        "The object store already contains another result of this attempt.",
        "Check who can write to the bucket, and submit the request again.",
    )
