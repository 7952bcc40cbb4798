"""Tests of the artifact store in a bucket: inputs, copies for workers, results, and what a start removes."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest

from sealyard.model.errors import (
    InputMismatchError,
    IntegrityError,
    InvalidInputError,
    NotFoundError,
    ResultGoneError,
    UsageError,
)
from sealyard.model.tasks import InputFile
from sealyard.storage.artifacts import ResultId
from sealyard.storage.s3 import artifacts as s3_artifacts
from sealyard.storage.s3.artifacts import S3Artifacts
from tests.support.object_store import MIN_PART_BYTES, TestBucket

CONTENT = b"firmware" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KEY = f"inputs/{SHA256[:2]}/{SHA256}"
LARGE_CONTENT = bytes(range(256)) * (2 * MIN_PART_BYTES // 256) + b"the last part"
LARGE_SHA256 = hashlib.sha256(LARGE_CONTENT).hexdigest()
INPUT = InputFile(name="firmware.bin", size=len(CONTENT), sha256=SHA256)
RESULT = ResultId("t-1", 1)


def ignore(_: int) -> None:
    """Do not cancel."""


@pytest.fixture
def store(tmp_path: Path, bucket: TestBucket) -> S3Artifacts:
    return bucket.open(tmp_path / "artifacts")


def list_files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def stage(store: S3Artifacts, task_id: str = "t-1") -> None:
    store.stage_inputs(task_id, [INPUT], ignore)


def publish(store: S3Artifacts, content: bytes, result: ResultId = RESULT) -> Path:
    work_file = store.work_dir(result.task_id) / "container"
    work_file.write_bytes(content)
    store.publish_result(result, work_file, hashlib.sha256(content).hexdigest(), ignore)
    return work_file


# ---- inputs


@pytest.mark.parametrize("content", [CONTENT, LARGE_CONTENT], ids=["single", "parts"])
def test_ingested_file_is_read_from_bucket(
    tmp_path: Path, bucket: TestBucket, store: S3Artifacts, content: bytes
) -> None:
    source = tmp_path / "firmware.bin"
    source.write_bytes(content)
    stored = store.ingest(source)
    assert (stored.sha256, stored.size) == (hashlib.sha256(content).hexdigest(), len(content))
    assert store.input_size(stored.sha256) == len(content)
    assert list_files(tmp_path / "artifacts") == []
    assert bucket.keys() == [f"inputs/{stored.sha256[:2]}/{stored.sha256}"]
    with store.open_input(stored.sha256) as file:
        assert file.read() == content
        file.seek(len(content) - 4)
        assert file.read() == content[-4:]


def test_next_engine_finds_inputs(tmp_path: Path, bucket: TestBucket, store: S3Artifacts) -> None:
    store.ingest_bytes(CONTENT)
    bucket.replace("inputs/no/digest", b"of another program")
    next_store = bucket.open(tmp_path / "other")
    assert list(next_store.stored_inputs()) == [SHA256]
    assert next_store.input_size(SHA256) == len(CONTENT)
    assert next_store.uploaded_at(SHA256) is not None


def test_move_in_stores_file_and_removes_it(tmp_path: Path, bucket: TestBucket, store: S3Artifacts) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(CONTENT)
    store.move_in(upload, SHA256)
    assert not upload.exists()
    assert bucket.keys() == [KEY]


@pytest.mark.parametrize("content", [CONTENT, LARGE_CONTENT], ids=["single", "parts"])
def test_changed_file_is_not_stored(tmp_path: Path, bucket: TestBucket, store: S3Artifacts, content: bytes) -> None:
    upload = tmp_path / "upload"
    upload.write_bytes(content.swapcase())
    sha256 = hashlib.sha256(content).hexdigest()
    with pytest.raises(IntegrityError, match="changed before it was stored"):
        store.move_in(upload, sha256)
    assert upload.exists()
    assert (bucket.keys(), bucket.unfinished_uploads()) == ([], [])
    with pytest.raises(NotFoundError):
        store.input_size(sha256)


def test_unexpected_digest_and_empty_content_are_rejected(
    tmp_path: Path, bucket: TestBucket, store: S3Artifacts
) -> None:
    source = tmp_path / "firmware.bin"
    source.write_bytes(CONTENT)
    with pytest.raises(InputMismatchError):
        store.ingest(source, expected_sha256="0" * 64)
    with pytest.raises(InvalidInputError):
        store.ingest_bytes(b"")
    assert bucket.keys() == []


@pytest.mark.parametrize("damage", [CONTENT.swapcase(), b"other"])
def test_ingest_replaces_damaged_object(bucket: TestBucket, store: S3Artifacts, damage: bytes) -> None:
    bucket.replace(KEY, damage)
    store.ingest_bytes(CONTENT)
    with store.open_input(SHA256) as file:
        assert file.read() == CONTENT


def test_deleted_input_is_removed_from_bucket(bucket: TestBucket, store: S3Artifacts) -> None:
    store.ingest_bytes(CONTENT)
    store.delete_input(SHA256)
    store.delete_input(SHA256)
    with pytest.raises(NotFoundError):
        store.input_size(SHA256)
    store.close(finish=True)
    assert bucket.keys() == []
    with pytest.raises(NotFoundError):
        store.open_input(SHA256)


def test_engine_that_lost_workspace_deletes_nothing(bucket: TestBucket, store: S3Artifacts) -> None:
    store.ingest_bytes(CONTENT)
    with store._deletions.hold(f"yard/w1/{KEY}"):
        store.delete_input(SHA256)
        store.close(finish=False)
    assert bucket.keys() == [KEY]


def test_content_that_is_stored_again_survives_deletion(bucket: TestBucket, store: S3Artifacts) -> None:
    store.ingest_bytes(CONTENT)
    with store._deletions.hold(f"yard/w1/{KEY}"):
        store.delete_input(SHA256)
        store.ingest_bytes(CONTENT)
    store.close(finish=True)
    assert bucket.keys() == [KEY]
    assert store.input_size(SHA256) == len(CONTENT)


@pytest.mark.parametrize("digest", ["", "x" * 64, SHA256.upper(), "../inputs"])
def test_invalid_digest_is_rejected(store: S3Artifacts, digest: str) -> None:
    for method in (store.input_size, store.open_input, store.delete_input):
        with pytest.raises(UsageError):
            method(digest)


# ---- copies for workers


def test_staged_input_is_kept_until_last_task_ends(tmp_path: Path, store: S3Artifacts) -> None:
    folder = tmp_path / "artifacts"
    store.ingest_bytes(CONTENT)
    stage(store, "t-1")
    stage(store, "t-2")
    assert list_files(folder) == [KEY]
    assert (folder / KEY).read_bytes() == CONTENT
    store.delete_work("t-1")
    assert list_files(folder) == [KEY]
    store.delete_work("t-2")
    assert list_files(folder) == []


def test_missing_input_is_not_staged(tmp_path: Path, store: S3Artifacts) -> None:
    stage(store)
    assert list_files(tmp_path / "artifacts") == []


def test_staging_can_be_cancelled(tmp_path: Path, store: S3Artifacts) -> None:
    class CancelledError(Exception):
        pass

    def cancel(_: int) -> None:
        raise CancelledError

    store.ingest_bytes(CONTENT)
    with pytest.raises(CancelledError):
        store.stage_inputs("t-1", [INPUT], cancel)
    assert list_files(tmp_path / "artifacts") == []


def test_start_removes_copies(tmp_path: Path, bucket: TestBucket, store: S3Artifacts) -> None:
    store.ingest_bytes(CONTENT)
    stage(store)
    (tmp_path / "artifacts" / "incoming" / "partial").write_bytes(b"part")
    bucket.open(tmp_path / "artifacts").delete_temporary()
    assert list_files(tmp_path / "artifacts") == []
    assert bucket.keys() == [KEY]


# ---- results


@pytest.mark.parametrize("content", [CONTENT, LARGE_CONTENT], ids=["single", "parts"])
def test_result_is_read_from_offset(bucket: TestBucket, store: S3Artifacts, content: bytes) -> None:
    work_file = publish(store, content, ResultId("t-1", 3))
    assert work_file.exists()
    assert bucket.keys() == ["results/t-1/3"]
    for offset in (0, 1, len(content) - 1, len(content)):
        with store.open_result(ResultId("t-1", 3), offset) as file:
            assert file.read() == content[offset:]


def test_publishing_same_result_again_changes_nothing(bucket: TestBucket, store: S3Artifacts) -> None:
    publish(store, CONTENT)
    publish(store, CONTENT)
    with pytest.raises(IntegrityError, match="another result of this attempt"):
        publish(store, b"other")
    with store.open_result(ResultId("t-1", 1)) as file:
        assert file.read() == CONTENT


def test_result_of_stale_attempt_replaces_nothing(bucket: TestBucket, store: S3Artifacts) -> None:
    publish(store, CONTENT, ResultId("t-1", 2))
    publish(store, b"of an engine that lost the workspace", ResultId("t-1", 1))
    with store.open_result(ResultId("t-1", 2)) as file:
        assert file.read() == CONTENT


def test_removed_result_raises_result_gone(bucket: TestBucket, store: S3Artifacts) -> None:
    publish(store, CONTENT, ResultId("t-1", 1))
    publish(store, CONTENT, ResultId("t-1", 2))
    publish(store, CONTENT, ResultId("t-10", 1))
    store.remove_result("t-1")
    store.remove_result("t-1")
    assert bucket.keys() == ["results/t-10/1"]
    with pytest.raises(ResultGoneError):
        store.open_result(ResultId("t-1", 2))


def test_unpublished_result_stays_in_work_dir(bucket: TestBucket, store: S3Artifacts) -> None:
    work_file = publish(store, CONTENT)
    store.unpublish_result("t-1", "container")
    assert (bucket.keys(), work_file.read_bytes()) == ([], CONTENT)


def test_old_orphans_are_removed(bucket: TestBucket, store: S3Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(store, CONTENT, ResultId("t-1", 1))
    publish(store, CONTENT, ResultId("t-1", 2))
    key = f"yard/w1/{KEY}"
    bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)
    store.remove_orphaned_results({ResultId("t-1", 2)})
    assert bucket.keys() == ["results/t-1/1", "results/t-1/2"]
    assert bucket.unfinished_uploads() == [key]
    monkeypatch.setattr(s3_artifacts, "MIN_ORPHAN_AGE", timedelta(hours=-1))
    store.remove_orphaned_results({ResultId("t-1", 2)})
    assert bucket.keys() == ["results/t-1/2"]
    assert bucket.unfinished_uploads() == []


@pytest.mark.parametrize("task_id", ["", "..", "a/b", "-x"])
def test_invalid_task_id_is_rejected(store: S3Artifacts, task_id: str) -> None:
    for method in (store.work_dir, store.remove_result, lambda name: store.open_result(ResultId(name, 1))):
        with pytest.raises(UsageError):
            method(task_id)
