"""Find out what an object store guarantees, with small objects under a random key."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from sealyard.model.errors import ArtifactStoreError, SealyardError
from sealyard.storage.s3.bucket import Bucket, to_base64
from sealyard.storage.s3.errors import DigestRejectedError, ObjectExistsError, ObjectMissingError
from sealyard.storage.s3.uploads import StoreGuarantees

_CONTENT = b"Sealyard checks what this object store guarantees."
_SHA256 = hashlib.sha256(_CONTENT).hexdigest()
_OTHER_CONTENT = _CONTENT.swapcase()
_OFFSET = 9

_REJECTS_CONTENT = "content with another digest is rejected"
_REJECTS_PARTS = "a part with another digest is rejected"
_KEEPS_EXISTING = "an existing object is not replaced"


class ProbeResult(NamedTuple):
    """The result of one trial. ``fallback``: what Sealyard does if it failed; empty if the store cannot be used."""

    name: str
    passed: bool
    fallback: str = ""


class StoreProbe:
    """Tries wrong content, a second upload, ranges, parts and deletion.

    Raises :class:`ArtifactStoreError` if the store does not answer or refuses a request.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._prefix = bucket.location.key("probe", secrets.token_hex(16))

    def run(self) -> tuple[ProbeResult, ...]:
        """Make all trials, and remove their objects."""
        try:
            return tuple(
                ProbeResult(name, passed=trial(), fallback=fallback) for name, trial, fallback in self._trials()
            )
        except (ObjectMissingError, ObjectExistsError, DigestRejectedError):
            raise ArtifactStoreError(
                f"{self._bucket.place} lost or changed an object of the check.", "Use another object store."
            ) from None
        finally:
            with suppress(SealyardError):
                for item in self._bucket.objects(self._prefix):
                    self._bucket.delete(item.key)

    def _trials(self) -> tuple[tuple[str, Callable[[], bool], str], ...]:
        read_back = "Sealyard reads each object after it was stored, and hashes it."
        return (
            ("an object can be stored and read", self._reads_content, ""),
            ("a range can be read", self._reads_range, ""),
            (_REJECTS_CONTENT, self._rejects_wrong_content, read_back),
            (_REJECTS_PARTS, self._rejects_wrong_part, read_back),
            ("the digest of an object is known", self._knows_digest, "Sealyard reads an object to compare it."),
            (_KEEPS_EXISTING, self._keeps_existing, "Sealyard looks for an object before it stores one."),
            ("a deleted object is gone", self._deletes, ""),
        )

    def _reads_content(self) -> bool:
        self._bucket.put(self._key("first"), _CONTENT, _SHA256, replace=False)
        with self._bucket.open(self._key("first")) as file:
            return file.read() == _CONTENT

    def _rejects_wrong_content(self) -> bool:
        try:
            self._bucket.put(self._key("wrong"), _OTHER_CONTENT, _SHA256, replace=False)
        except DigestRejectedError:
            return True
        return False

    def _rejects_wrong_part(self) -> bool:
        key = self._key("parts")
        response = self._bucket.call("create_multipart_upload", "s3:PutObject", Key=key, ChecksumAlgorithm="SHA256")
        upload = {"Key": key, "UploadId": response["UploadId"]}
        try:
            self._bucket.call(
                "upload_part",
                "s3:PutObject",
                **upload,
                PartNumber=1,
                Body=_OTHER_CONTENT,
                ChecksumSHA256=to_base64(_SHA256),
            )
        except DigestRejectedError:
            return True
        finally:
            self._bucket.abort_upload(key, response["UploadId"])
        return False

    def _knows_digest(self) -> bool:
        status = self._bucket.status(self._key("first"))
        return status is not None and status.sha256 == _SHA256

    def _keeps_existing(self) -> bool:
        other_sha256 = hashlib.sha256(_OTHER_CONTENT).hexdigest()
        try:
            self._bucket.put(self._key("first"), _OTHER_CONTENT, other_sha256, replace=False)
        except ObjectExistsError:
            return True
        return False

    def _reads_range(self) -> bool:
        with self._bucket.open(self._key("first"), _OFFSET) as file:
            return file.read() == _CONTENT[_OFFSET:]

    def _deletes(self) -> bool:
        self._bucket.delete(self._key("first"))
        return self._bucket.status(self._key("first")) is None

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}"


def derive_guarantees(bucket: Bucket, results: tuple[ProbeResult, ...]) -> StoreGuarantees:
    """Return what Sealyard relies on. Raises :class:`ArtifactStoreError` if a trial without a fallback failed."""
    failed = {result.name for result in results if not result.passed}
    for result in results:
        if not result.passed and not result.fallback:
            raise ArtifactStoreError(
                f"{bucket.place} cannot be used: the check that {result.name} failed.", "Use another object store."
            )
    return StoreGuarantees(
        checks_digests=not failed & {_REJECTS_CONTENT, _REJECTS_PARTS},
        keeps_existing=_KEEPS_EXISTING not in failed,
    )
