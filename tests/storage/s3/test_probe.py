"""Tests of the probe, and of stores that guarantee less than S3."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from sealyard.model.errors import ArtifactStoreError, IntegrityError
from sealyard.storage.artifacts import ResultId
from sealyard.storage.s3.artifacts import S3Artifacts
from sealyard.storage.s3.bucket import Bucket
from sealyard.storage.s3.location import S3Location
from sealyard.storage.s3.probe import StoreProbe, derive_guarantees
from sealyard.storage.s3.uploads import StoreGuarantees
from tests.support.object_store import TestBucket

WRONG_CONTENT = "content with another digest is rejected"
EXISTING = "an existing object is not replaced"


class CarelessBucket(Bucket):
    """Ignores digests and conditions, as some stores do. ``corrupts``: whether it stores other bytes."""

    corrupts = False

    def put(self, key: str, content: BinaryIO | bytes, sha256: str, *, replace: bool) -> None:
        data = content if isinstance(content, bytes) else content.read()
        self.call("put_object", "s3:PutObject", Key=key, Body=data.swapcase() if self.corrupts else data)


class BucketWithoutRanges(Bucket):
    def call(self, operation: str, permission: str, **parameters: Any) -> Mapping[str, Any]:
        parameters.pop("Range", None)
        return super().call(operation, permission, **parameters)


def test_store_with_all_guarantees_passes(bucket: TestBucket) -> None:
    store = bucket.connect()
    results = StoreProbe(store).run()
    assert [result.name for result in results if not result.passed] == []
    assert derive_guarantees(store, results) == StoreGuarantees()
    assert (bucket.keys(), bucket.unfinished_uploads()) == ([], [])


def test_missing_guarantees_are_found(bucket: TestBucket) -> None:
    store = CarelessBucket(S3Location.parse(bucket.url))
    results = StoreProbe(store).run()
    assert {result.name for result in results if not result.passed} == {
        WRONG_CONTENT,
        "the digest of an object is known",
        EXISTING,
    }
    assert derive_guarantees(store, results) == StoreGuarantees(checks_digests=False, keeps_existing=False)
    assert bucket.keys() == []


def test_store_without_ranges_is_refused(bucket: TestBucket) -> None:
    store = BucketWithoutRanges(S3Location.parse(bucket.url))
    results = StoreProbe(store).run()
    with pytest.raises(ArtifactStoreError, match="a range can be read failed"):
        derive_guarantees(store, results)


def test_opening_logs_missing_guarantees(
    tmp_path: Path, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sealyard.storage.s3.artifacts.Bucket", CarelessBucket)
    store = S3Artifacts.open(tmp_path / "artifacts", S3Location.parse(bucket.url), "w1")
    assert f"does not guarantee that {WRONG_CONTENT}. Sealyard reads each object" in caplog.text
    assert list(store.stored_inputs()) == []


def test_content_is_read_back_from_careless_store(
    tmp_path: Path, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    careless_bucket = CarelessBucket(S3Location.parse(bucket.url))
    store = S3Artifacts(tmp_path, careless_bucket, "w1", StoreGuarantees(checks_digests=False, keeps_existing=False))
    monkeypatch.setattr(careless_bucket, "corrupts", True)
    with pytest.raises(ArtifactStoreError, match="stored other bytes"):
        store.ingest_bytes(b"firmware")
    assert bucket.keys() == []
    monkeypatch.setattr(careless_bucket, "corrupts", False)
    stored = store.ingest_bytes(b"firmware")
    assert store.input_size(stored.sha256) == 8


def test_careless_store_replaces_no_result(tmp_path: Path, bucket: TestBucket) -> None:
    careless_bucket = CarelessBucket(S3Location.parse(bucket.url))
    store = S3Artifacts(tmp_path, careless_bucket, "w1", StoreGuarantees(checks_digests=False, keeps_existing=False))
    work_file = store.work_dir("t-1") / "container"
    for content in (b"first", b"first"):
        work_file.write_bytes(content)
        store.publish_result(ResultId("t-1", 1), work_file, hashlib.sha256(content).hexdigest(), lambda _: None)
    work_file.write_bytes(b"other")
    with pytest.raises(IntegrityError):
        store.publish_result(ResultId("t-1", 1), work_file, hashlib.sha256(b"other").hexdigest(), lambda _: None)
    with store.open_result(ResultId("t-1", 1)) as file:
        assert file.read() == b"first"
