"""Grants to upload results, and the check of what was uploaded with them."""

from __future__ import annotations

import contextlib

from sealyard.concurrency.threads import CheckCancelled
from sealyard.model.errors import ArtifactStoreError, IntegrityError, UsageError
from sealyard.model.grants import ResultContent, ResultGrant
from sealyard.storage.artifacts import is_sha256
from sealyard.storage.s3.bucket import Bucket, UploadedPart
from sealyard.storage.s3.errors import ObjectMissingError
from sealyard.storage.s3.uploads import MAX_PARTS, StoreGuarantees

MAX_SINGLE_BYTES = 5 << 30
"""Largest object that S3 stores in one request, and largest part."""

MIN_PART_BYTES = 5 << 20
"""Smallest part that S3 accepts, except for the last one."""


class ResultGrants:
    """Issues grants for uploads, and completes the uploads. May be used from any thread; all methods block."""

    def __init__(self, bucket: Bucket, guarantees: StoreGuarantees) -> None:
        self._bucket = bucket
        self._guarantees = guarantees

    def issue(self, key: str, content: ResultContent, seconds: int) -> ResultGrant:
        """Return a grant to write the object; see :meth:`ArtifactGrants.grant_result`."""
        _check_content(content)
        if not content.parts:
            grant = self._bucket.presign_put(key, seconds, content.sha256, overwrite=True, size=content.size)
            return ResultGrant(sha256=content.sha256, grants=(grant,))
        upload_id = next(iter(self._find_uploads(key)), None) or self._create_upload(key)
        grants = tuple(
            self._bucket.presign_part(key, upload_id, number, seconds, part)
            for number, part in enumerate(content.parts, start=1)
        )
        return ResultGrant(sha256=content.sha256, grants=grants)

    def confirm(self, key: str, sha256: str, size: int, check_cancelled: CheckCancelled) -> None:
        """Complete the upload of the object; see :meth:`ArtifactGrants.confirm_result`."""
        if not self._has_content(key, sha256, size, check_cancelled) and not self._complete_uploads(
            key, sha256, size, check_cancelled
        ):
            raise IntegrityError(
                "The object store does not contain the result that the worker reported.",
                "Check who can write to the bucket, and submit the request again.",
            )
        for upload_id in self._find_uploads(key):
            with contextlib.suppress(ArtifactStoreError):  # aborted by a later start, or by the rule of the bucket
                self._bucket.abort_upload(key, upload_id)

    def _complete_uploads(self, key: str, sha256: str, size: int, check_cancelled: CheckCancelled) -> bool:
        """Complete the uploads of the object, until one has this content. Returns whether one has it."""
        return any(
            self._complete(key, upload_id, size) and self._has_content(key, sha256, size, check_cancelled)
            for upload_id in self._find_uploads(key)
        )

    def _complete(self, key: str, upload_id: str, size: int) -> bool:
        """Complete an upload; return False if its parts do not have this size together."""
        try:
            parts = list(self._bucket.parts(key, upload_id))
            if sum(part.size for part in parts) != size:
                return False
            self._bucket.call(
                "complete_multipart_upload",
                "s3:PutObject",
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": list(map(_to_parameters, parts))},
            )
        except ObjectMissingError:  # an earlier attempt of this request completed it
            return True
        return True

    def _has_content(self, key: str, sha256: str, size: int, check_cancelled: CheckCancelled) -> bool:
        read_back = not self._guarantees.checks_digests
        return self._bucket.has_content(key, size, sha256, read_back=read_back, check_cancelled=check_cancelled)

    def _find_uploads(self, key: str) -> list[str]:
        return [upload.upload_id for upload in self._bucket.interrupted_uploads(key) if upload.key == key]

    def _create_upload(self, key: str) -> str:
        parameters = {"Key": key, "ChecksumAlgorithm": "SHA256"}
        upload_id: str = self._bucket.call("create_multipart_upload", "s3:PutObject", **parameters)["UploadId"]
        return upload_id


def _to_parameters(part: UploadedPart) -> dict[str, object]:
    checksum = {} if part.checksum is None else {"ChecksumSHA256": part.checksum}
    return {"PartNumber": part.number, "ETag": part.etag, **checksum}


def _check_content(content: ResultContent) -> None:
    """Raise :class:`UsageError` if S3 does not accept the content, or if its parts do not fit to it."""
    sizes = [part.size for part in content.parts] or [content.size]
    is_valid = (
        all(is_sha256(sha256) for sha256 in (content.sha256, *(part.sha256 for part in content.parts)))
        and sum(sizes) == content.size
        and len(sizes) <= MAX_PARTS
        and all(MIN_PART_BYTES <= size <= MAX_SINGLE_BYTES for size in sizes[:-1])
        and 0 < sizes[-1] <= MAX_SINGLE_BYTES
    )
    if not is_valid:
        raise UsageError("A result cannot be uploaded in these parts.", "Update the crypto host.")
