"""Requests to a bucket, with limits for time and attempts."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from sealyard.concurrency.threads import CheckCancelled
from sealyard.fs.hashing import file_sha256
from sealyard.model.errors import UsageError
from sealyard.model.grants import ContentPart, Grant
from sealyard.model.results import content_disposition
from sealyard.storage.s3.errors import ObjectMissingError, convert_errors
from sealyard.storage.s3.location import S3Location
from sealyard.storage.s3.reader import ObjectReader

CONNECT_SECONDS = 5
READ_SECONDS = 30
"""Timeout for each read and write of a connection, not for whole objects."""

MAX_ATTEMPTS = 4
"""Number of attempts of a request, with growing delays between them."""

QUICK_SECONDS = 3
"""Timeout of deletions and checks, which are sent once: a server that lost its lease must not delete later."""

MAX_CONNECTIONS = 32
READ_BUFFER_BYTES = 1 << 20


class StoredObject(NamedTuple):
    """An object in a listing."""

    key: str
    size: int
    modified_at: datetime


class ObjectStatus(NamedTuple):
    """``sha256`` (hex) is None unless the store knows the digest of the whole object."""

    size: int
    sha256: str | None
    etag: str


class InterruptedUpload(NamedTuple):
    key: str
    upload_id: str
    started_at: datetime


class UploadedPart(NamedTuple):
    """A part of a multipart upload. ``checksum``: as S3 encodes it; None if the store does not return it."""

    number: int
    size: int
    etag: str
    checksum: str | None


class Bucket:
    """Sends requests; may be used from any thread. All methods block.

    All raise :class:`ArtifactStoreError` if the store does not answer or refuses a request.
    """

    def __init__(self, location: S3Location) -> None:
        """Raises :class:`UsageError` if the SDK does not accept the location."""
        # With the level DEBUG, the SDK logs requests with their signatures and tokens.
        for name in ("boto3", "botocore", "urllib3"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.location = location
        self.place = f"The object store {location}"
        try:
            session = boto3.session.Session(region_name=location.region or None)
            self._client = _create_client(session, location, MAX_ATTEMPTS, CONNECT_SECONDS, READ_SECONDS)
            self._quick_client = _create_client(session, location, 1, QUICK_SECONDS, QUICK_SECONDS)
        except (BotoCoreError, ValueError) as error:
            raise UsageError(
                f"The AWS SDK does not accept the location {location} ({type(error).__name__}).",
                "Set the option region of the URL, and check the configuration of the SDK.",
            ) from None

    def call(self, operation: str, permission: str, **parameters: Any) -> Mapping[str, Any]:
        """Send a request, and return the response. ``permission``: the action of IAM that permits it.

        Raises the errors of :func:`~sealyard.storage.s3.errors.convert_errors`.
        """
        return self._call(self._client, operation, permission, parameters)

    def put(self, key: str, content: BinaryIO | bytes, sha256: str, *, replace: bool) -> None:
        """Store a small object. The store checks its digest.

        Raises :class:`~sealyard.storage.s3.errors.ObjectExistsError` if an object exists and ``replace`` is False, and
        :class:`~sealyard.storage.s3.errors.DigestRejectedError` if the content has another digest.
        """
        condition = {} if replace else {"IfNoneMatch": "*"}
        self.call("put_object", "s3:PutObject", Key=key, Body=content, ChecksumSHA256=to_base64(sha256), **condition)

    def status(self, key: str) -> ObjectStatus | None:
        """Return the status of an object; None if it does not exist."""
        try:
            response = self.call("head_object", "s3:GetObject", Key=key, ChecksumMode="ENABLED")
        except ObjectMissingError:
            return None
        return ObjectStatus(response["ContentLength"], _full_digest(response), response.get("ETag", ""))

    def has_content(
        self,
        key: str,
        size: int,
        sha256: str,
        *,
        read_back: bool = False,
        check_cancelled: CheckCancelled | None = None,
    ) -> bool:
        """Return whether the object exists with this content.

        The content is read if the store does not know its digest, or if ``read_back``. ``check_cancelled`` may raise an
        exception to cancel that.
        """
        status = self.status(key)
        if status is None or status.size != size:
            return False
        if status.sha256 is not None and not read_back:
            return status.sha256 == sha256
        try:
            with self.open(key) as file:
                return file_sha256(file, check_cancelled) == sha256
        except ObjectMissingError:
            return False

    def open(self, key: str, offset: int = 0) -> BinaryIO:
        """Open an object, positioned at ``offset``. A lost connection is opened again, for the same object.

        Raises :class:`~sealyard.storage.s3.errors.ObjectMissingError` if there is none.
        """
        status = self.status(key)
        if status is None:
            raise ObjectMissingError
        reader = ObjectReader(self.call, self.place, key, status.size, status.etag)
        reader.seek(offset)
        return io.BufferedReader(reader, READ_BUFFER_BYTES)

    def presign_get(self, key: str, seconds: int, *, file_name: str | None = None) -> Grant:
        """Return a grant to read an object, also in ranges. Sends no request to the store.

        The grant ends earlier if it is signed with temporary credentials that expire. ``file_name``: name under which
        browsers save the object.
        """
        options = {"ResponseContentDisposition": content_disposition(file_name)} if file_name is not None else {}
        return self._presign("get_object", seconds, {"Key": key, **options}, {})

    def presign_put(
        self, key: str, seconds: int, sha256: str, *, overwrite: bool = False, size: int | None = None
    ) -> Grant:
        """Return a grant to store an object with this SHA-256 (hex) in one request. Sends no request to the store.

        The store checks the digest if :class:`~sealyard.storage.s3.uploads.StoreGuarantees` says so, and the ``size``
        in bytes if there is one. Unless ``overwrite``, it answers 412 if the object exists.
        """
        signed = {"ChecksumSHA256": to_base64(sha256)}
        headers = {"x-amz-checksum-sha256": signed["ChecksumSHA256"]}
        if not overwrite:
            signed["IfNoneMatch"] = headers["If-None-Match"] = "*"
        if size is not None:
            headers["Content-Length"] = str(size)
        length = {} if size is None else {"ContentLength": size}
        return self._presign("put_object", seconds, {"Key": key, **signed, **length}, headers)

    def presign_part(self, key: str, upload_id: str, number: int, seconds: int, part: ContentPart) -> Grant:
        """Return a grant to store a part of a multipart upload; see :meth:`presign_put`."""
        checksum = to_base64(part.sha256)
        parameters = {
            "Key": key,
            "UploadId": upload_id,
            "PartNumber": number,
            "ChecksumSHA256": checksum,
            "ContentLength": part.size,
        }
        headers = {"x-amz-checksum-sha256": checksum, "Content-Length": str(part.size)}
        return self._presign("upload_part", seconds, parameters, headers)

    def delete(self, key: str) -> None:
        """Delete an object. It is no error if there is none."""
        self._call(self._quick_client, "delete_object", "s3:DeleteObject", {"Key": key})

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Abort a multipart upload. Its parts are removed. It is no error if there is none."""
        with suppress(ObjectMissingError):
            self.call("abort_multipart_upload", "s3:AbortMultipartUpload", Key=key, UploadId=upload_id)

    def check(self, prefix: str) -> None:
        """Check that the bucket answers, with one short request."""
        self._call(self._quick_client, "list_objects_v2", "s3:ListBucket", {"Prefix": prefix, "MaxKeys": 1})

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Return an iterator over the objects whose keys begin with ``prefix``."""
        marker: dict[str, str] = {}
        while True:
            page = self.call("list_objects_v2", "s3:ListBucket", Prefix=prefix, **marker)
            for item in page.get("Contents", ()):
                yield StoredObject(item["Key"], item["Size"], item["LastModified"])
            if not page.get("IsTruncated"):
                return
            marker = {"ContinuationToken": page["NextContinuationToken"]}

    def interrupted_uploads(self, prefix: str) -> Iterator[InterruptedUpload]:
        """Return an iterator over the multipart uploads that were neither completed nor aborted."""
        marker: dict[str, str] = {}
        while True:
            page = self.call("list_multipart_uploads", "s3:ListBucketMultipartUploads", Prefix=prefix, **marker)
            for item in page.get("Uploads", ()):
                yield InterruptedUpload(item["Key"], item["UploadId"], item["Initiated"])
            if not page.get("IsTruncated"):
                return
            marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def parts(self, key: str, upload_id: str) -> Iterator[UploadedPart]:
        """Return an iterator over the parts of a multipart upload that were stored.

        Raises :class:`~sealyard.storage.s3.errors.ObjectMissingError` if there is no such upload.
        """
        marker: dict[str, int] = {}
        while True:
            page = self.call("list_parts", "s3:ListMultipartUploadParts", Key=key, UploadId=upload_id, **marker)
            for item in page.get("Parts", ()):
                yield UploadedPart(item["PartNumber"], item["Size"], item["ETag"], item.get("ChecksumSHA256"))
            if not page.get("IsTruncated"):
                return
            marker = {"PartNumberMarker": page["NextPartNumberMarker"]}

    def _presign(
        self, operation: str, seconds: int, parameters: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Grant:
        """``headers``: those that the SDK makes of ``parameters``, and signs."""
        expires_at = datetime.now(UTC) + timedelta(seconds=seconds)
        with convert_errors(str(self.location), ""):
            url = self._client.generate_presigned_url(
                operation, Params={"Bucket": self.location.bucket, **parameters}, ExpiresIn=seconds
            )
        return Grant(url=url, headers=tuple(headers.items()), expires_at=expires_at)

    def _call(self, client: Any, operation: str, permission: str, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        with convert_errors(str(self.location), permission):
            response: Mapping[str, Any] = getattr(client, operation)(Bucket=self.location.bucket, **parameters)
        return response


def to_base64(sha256: str) -> str:
    """Return a digest (hex) as S3 encodes it."""
    return base64.b64encode(bytes.fromhex(sha256)).decode()


def _full_digest(response: Mapping[str, Any]) -> str | None:
    """Return the SHA-256 (hex) of the whole object. That of a multipart upload is one of digests, and ends with -N."""
    checksum = response.get("ChecksumSHA256", "")
    if not checksum or "-" in checksum or response.get("ChecksumType") == "COMPOSITE":
        return None
    try:
        return base64.b64decode(checksum, validate=True).hex()
    except ValueError:
        return None


def _create_client(session: Any, location: S3Location, attempts: int, connect_seconds: int, read_seconds: int) -> Any:
    config = Config(
        signature_version="s3v4",
        connect_timeout=connect_seconds,
        read_timeout=read_seconds,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=MAX_CONNECTIONS,
        tcp_keepalive=True,
        user_agent_extra="sealyard",
        # Only the checksums that Sealyard sets: not all stores know those that the SDK would add.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # A name such as bucket.127.0.0.1 does not exist.
        s3={"addressing_style": "path" if location.endpoint else "auto"},
    )
    return session.client("s3", endpoint_url=location.endpoint or None, config=config)
