"""Tests of uploads to the bucket: what becomes an input, what is refused, and what is removed."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sealyard.model.errors import ArtifactStoreError, ConflictError, InputMismatchError, NotFoundError
from sealyard.storage.direct_uploads import DirectSlot
from sealyard.storage.s3 import direct_uploads
from sealyard.storage.s3.artifacts import S3Artifacts
from sealyard.storage.s3.direct_uploads import S3DirectUploads
from sealyard.storage.s3.uploads import StoreGuarantees
from tests.support.grants import put_object
from tests.support.object_store import MIN_PART_BYTES, TestBucket

CONTENT = b"firmware" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KEY = f"inputs/{SHA256[:2]}/{SHA256}"
LARGE_CONTENT = bytes(range(256)) * (2 * MIN_PART_BYTES // 256) + b"the last part"
LARGE_SHA256 = hashlib.sha256(LARGE_CONTENT).hexdigest()


def ignore(_: int) -> None:
    """Do not cancel."""


@pytest.fixture
def store(tmp_path: Path, bucket: TestBucket) -> S3Artifacts:
    sizes: dict[str, Any] = {
        "direct_single_bytes": MIN_PART_BYTES,
        "direct_part_bytes": MIN_PART_BYTES,
        "copy_bytes": MIN_PART_BYTES,
    }
    return bucket.open(tmp_path / "artifacts", **sizes)


@pytest.fixture
def direct(store: S3Artifacts) -> S3DirectUploads:
    assert store.direct is not None
    return store.direct


def send(direct: S3DirectUploads, slot: DirectSlot, content: bytes, *, skipped: int = 0) -> list[int]:
    """Send all parts but one, the last part first, and return the statuses."""
    statuses = []
    for part in range(slot.parts, 0, -1):
        start = (part - 1) * slot.part_size
        data = content[start : start + slot.length_of(part)]
        if part != skipped:
            grant = direct.grant(slot, part, hashlib.sha256(data).hexdigest(), 60)
            statuses.append(put_object(grant, data))
    return statuses


@pytest.mark.parametrize("content", [CONTENT, LARGE_CONTENT], ids=["single", "parts"])
def test_received_content_becomes_input(
    bucket: TestBucket, store: S3Artifacts, direct: S3DirectUploads, content: bytes
) -> None:
    sha256 = hashlib.sha256(content).hexdigest()
    slot = direct.begin(len(content))
    assert set(send(direct, slot, content)) == {200}
    with pytest.raises(NotFoundError):
        store.input_size(sha256)
    direct.store_input(slot, sha256, ignore)
    direct.store_input(slot, sha256, ignore)
    direct.remove(slot)
    assert store.input_size(sha256) == len(content)
    with store.open_input(sha256) as file:
        assert file.read() == content
    assert bucket.keys() == [f"inputs/{sha256[:2]}/{sha256}"]
    assert bucket.unfinished_uploads() == []


def test_repeated_put_is_refused_and_keeps_content(direct: S3DirectUploads, store: S3Artifacts) -> None:
    slot = direct.begin(len(CONTENT))
    assert send(direct, slot, CONTENT) == [200]
    assert send(direct, slot, CONTENT) == [412]
    direct.store_input(slot, SHA256, ignore)
    assert store.input_size(SHA256) == len(CONTENT)


@pytest.mark.parametrize("content", [CONTENT, LARGE_CONTENT], ids=["single", "parts"])
def test_wrong_bytes_are_refused_by_store(bucket: TestBucket, direct: S3DirectUploads, content: bytes) -> None:
    slot = direct.begin(len(content))
    first = content[: slot.length_of(1)]
    grant = direct.grant(slot, 1, hashlib.sha256(first).hexdigest(), 60)
    assert put_object(grant, first.swapcase()[::-1]) == 400
    with pytest.raises(ConflictError, match="not complete"):
        direct.store_input(slot, hashlib.sha256(content).hexdigest(), ignore)
    assert bucket.keys() == []


def test_part_with_other_size_is_refused(direct: S3DirectUploads) -> None:
    slot = direct.begin(len(LARGE_CONTENT))
    data = LARGE_CONTENT[: slot.part_size + 1]
    grant = direct.grant(slot, 1, hashlib.sha256(data).hexdigest(), 60)
    assert put_object(grant, data, without="Content-Length") == 403


def test_missing_part_is_reported(direct: S3DirectUploads, store: S3Artifacts) -> None:
    slot = direct.begin(len(LARGE_CONTENT))
    send(direct, slot, LARGE_CONTENT, skipped=2)
    with pytest.raises(ConflictError, match="1 of 3 parts"):
        direct.store_input(slot, LARGE_SHA256, ignore)
    send(direct, slot, LARGE_CONTENT)
    direct.store_input(slot, LARGE_SHA256, ignore)
    assert store.input_size(LARGE_SHA256) == len(LARGE_CONTENT)


def test_parts_of_other_content_do_not_become_input(
    bucket: TestBucket, direct: S3DirectUploads, store: S3Artifacts
) -> None:
    slot = direct.begin(len(LARGE_CONTENT))
    send(direct, slot, LARGE_CONTENT[::-1])
    with pytest.raises(InputMismatchError):
        direct.store_input(slot, LARGE_SHA256, ignore)
    assert bucket.keys() == [f"uploads/{slot.object_id}"]


def test_foreign_digest_gives_no_access(direct: S3DirectUploads, store: S3Artifacts) -> None:
    """A client that knows only the digest of another client's file cannot use the file."""
    store.ingest_bytes(CONTENT)
    slot = direct.begin(len(CONTENT))
    direct.grant(slot, 1, SHA256, 60)
    with pytest.raises(ConflictError, match="nothing was received"):
        direct.store_input(slot, SHA256, ignore)


def test_object_replaced_in_store_does_not_become_input(bucket: TestBucket, direct: S3DirectUploads) -> None:
    slot = direct.begin(len(CONTENT))
    send(direct, slot, CONTENT)
    bucket.replace(f"uploads/{slot.object_id}", CONTENT.swapcase())
    with pytest.raises(InputMismatchError):
        direct.store_input(slot, SHA256, ignore)
    assert bucket.keys() == [f"uploads/{slot.object_id}"]


def test_damaged_input_is_repaired(bucket: TestBucket, store: S3Artifacts, direct: S3DirectUploads) -> None:
    bucket.replace(KEY, CONTENT.swapcase())
    slot = direct.begin(len(CONTENT))
    send(direct, slot, CONTENT)
    direct.store_input(slot, SHA256, ignore)
    with store.open_input(SHA256) as file:
        assert file.read() == CONTENT


def test_deletion_of_input_keeps_open_upload(bucket: TestBucket, store: S3Artifacts, direct: S3DirectUploads) -> None:
    store.ingest_bytes(CONTENT)
    slot = direct.begin(len(CONTENT))
    grant = direct.grant(slot, 1, SHA256, 60)
    store.delete_input(SHA256)
    assert put_object(grant, CONTENT) == 200
    direct.store_input(slot, SHA256, ignore)
    store.close(finish=True)
    assert set(bucket.keys()) == {KEY, f"uploads/{slot.object_id}"}


@pytest.mark.parametrize("content", [CONTENT, LARGE_CONTENT], ids=["single", "parts"])
def test_removed_upload_accepts_no_parts(bucket: TestBucket, direct: S3DirectUploads, content: bytes) -> None:
    slot = direct.begin(len(content))
    send(direct, slot, content, skipped=2)
    direct.remove(slot)
    direct.remove(slot)
    assert (bucket.keys(), bucket.unfinished_uploads()) == ([], [])
    if slot.multipart_id:
        assert set(send(direct, slot, content)) == {404}


def test_orphans_are_removed_when_old(
    bucket: TestBucket, direct: S3DirectUploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, orphan = direct.begin(len(CONTENT)), direct.begin(len(CONTENT))
    kept_parts, orphaned_parts = direct.begin(len(LARGE_CONTENT)), direct.begin(len(LARGE_CONTENT))
    for slot in (kept, orphan):
        send(direct, slot, CONTENT)
    kept_ids = {kept.object_id, kept_parts.object_id}
    direct.remove_orphans(kept_ids)
    assert (len(bucket.keys()), len(bucket.unfinished_uploads())) == (2, 2)
    monkeypatch.setattr(direct_uploads, "MIN_ORPHAN_AGE", timedelta(days=-1))
    direct.remove_orphans(kept_ids)
    assert bucket.keys() == [f"uploads/{kept.object_id}"]
    (unfinished,) = bucket.unfinished_uploads()
    assert unfinished.endswith(f"uploads/{kept_parts.object_id}")
    assert not unfinished.endswith(orphaned_parts.object_id)


def test_store_that_checks_no_digests_offers_no_uploads(tmp_path: Path, bucket: TestBucket) -> None:
    assert bucket.open(tmp_path, guarantees=StoreGuarantees(checks_digests=False)).direct is None


def test_unreachable_store_raises(tmp_path: Path, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealyard.storage.s3.bucket.MAX_ATTEMPTS", 1)
    direct = bucket.open(tmp_path).direct
    assert direct is not None
    slot = direct.begin(len(CONTENT))
    monkeypatch.setattr(direct, "_bucket", bucket.connect("http://127.0.0.1:1"))
    with pytest.raises(ArtifactStoreError, match="not reachable"):
        direct.store_input(slot, SHA256, ignore)
