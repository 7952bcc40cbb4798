"""Copy objects in the store: in one request, or in parts."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sealyard.concurrency.threads import CheckCancelled
from sealyard.model.errors import ArtifactStoreError
from sealyard.storage.s3.bucket import Bucket, ObjectStatus

COPY_BYTES = 256 << 20
"""Largest object that is copied in one request, and the size of the parts of larger ones."""


def copy_object(
    bucket: Bucket,
    source: str,
    status: ObjectStatus,
    target: str,
    check_cancelled: CheckCancelled,
    *,
    part_bytes: int = COPY_BYTES,
) -> None:
    """Copy an object, and replace the object ``target`` if it exists.

    ``status``: that of the source. ``check_cancelled`` may raise an exception between two parts. Raises
    :class:`~sealyard.storage.s3.errors.ObjectExistsError` if the source was replaced since, and
    :class:`~sealyard.storage.s3.errors.ObjectMissingError` if it was deleted.
    """
    origin = {
        "CopySource": {"Bucket": bucket.location.bucket, "Key": source},
        "CopySourceIfMatch": status.etag,
    }
    if status.size <= part_bytes:
        bucket.call("copy_object", "s3:PutObject", Key=target, **origin)
        return
    upload_id = bucket.call("create_multipart_upload", "s3:PutObject", Key=target)["UploadId"]
    upload = {"Key": target, "UploadId": upload_id}
    try:
        parts: list[dict[str, Any]] = []
        for start in range(0, status.size, part_bytes):
            check_cancelled(0)
            response = bucket.call(
                "upload_part_copy",
                "s3:PutObject",
                **upload,
                **origin,
                PartNumber=len(parts) + 1,
                CopySourceRange=f"bytes={start}-{min(start + part_bytes, status.size) - 1}",
            )
            parts.append({"PartNumber": len(parts) + 1, "ETag": response["CopyPartResult"]["ETag"]})
        bucket.call("complete_multipart_upload", "s3:PutObject", **upload, MultipartUpload={"Parts": parts})
    except BaseException:
        # If that fails, a later start or the lifecycle rule of the bucket removes the parts.
        with suppress(ArtifactStoreError):
            bucket.abort_upload(target, upload_id)
        raise
