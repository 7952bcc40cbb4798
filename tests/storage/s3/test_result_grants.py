"""Tests of grants for results: what hosts upload with them, and what the engine accepts afterwards."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from sealyard.model.errors import IntegrityError, NotFoundError, UsageError
from sealyard.model.grants import ContentPart, ResultContent, ResultGrant
from sealyard.storage.artifacts import ResultId
from sealyard.storage.s3.artifacts import S3Artifacts
from sealyard.storage.s3.uploads import StoreGuarantees
from tests.support.grants import get_object, put_object
from tests.support.object_store import MIN_PART_BYTES, TestBucket

SMALL_CONTENT = b"a container"
LARGE_CONTENT = bytes(range(256)) * (MIN_PART_BYTES // 256) + b"the last part"
RESULT = ResultId("t-1", 3)
KEY = "results/t-1/3"
SECONDS = 600


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def describe(content: bytes, *, parts: bool = False) -> ResultContent:
    pieces = split(content) if parts else []
    return ResultContent(
        sha256=digest(content),
        size=len(content),
        parts=tuple(ContentPart(sha256=digest(piece), size=len(piece)) for piece in pieces),
    )


def split(content: bytes) -> list[bytes]:
    return [content[start : start + MIN_PART_BYTES] for start in range(0, len(content), MIN_PART_BYTES)]


def upload_parts(grant: ResultGrant, content: bytes) -> list[int]:
    return [put_object(part_grant, piece) for part_grant, piece in zip(grant.grants, split(content), strict=True)]


def confirm(store: S3Artifacts, content: bytes) -> None:
    store.confirm_result(RESULT, digest(content), len(content), lambda _: None)


def read(store: S3Artifacts) -> bytes:
    with store.open_result(RESULT) as file:
        return file.read()


@pytest.fixture
def store(tmp_path: Path, bucket: TestBucket) -> S3Artifacts:
    return bucket.open(tmp_path / "artifacts")


def test_input_grant_reads_stored_input(store: S3Artifacts) -> None:
    stored = store.ingest_bytes(SMALL_CONTENT)
    grant = store.grant_input(stored.sha256, SECONDS)
    assert (grant.sha256, grant.size) == (stored.sha256, len(SMALL_CONTENT))
    assert get_object(grant.grant).content == SMALL_CONTENT
    assert "Signature" not in repr(grant)


def test_missing_input_gets_no_grant(store: S3Artifacts) -> None:
    with pytest.raises(NotFoundError):
        store.grant_input(digest(b"missing"), SECONDS)


def test_single_upload_is_confirmed_repeatedly(store: S3Artifacts, bucket: TestBucket) -> None:
    (grant,) = store.grant_result(RESULT, describe(SMALL_CONTENT), SECONDS).grants
    assert [put_object(grant, SMALL_CONTENT), put_object(grant, SMALL_CONTENT)] == [200, 200]
    confirm(store, SMALL_CONTENT)
    confirm(store, SMALL_CONTENT)
    assert (bucket.keys(), read(store)) == ([KEY], SMALL_CONTENT)


def test_single_grant_refuses_other_content(store: S3Artifacts) -> None:
    (grant,) = store.grant_result(RESULT, describe(SMALL_CONTENT), SECONDS).grants
    assert put_object(grant, SMALL_CONTENT.swapcase()) >= 400
    with pytest.raises(IntegrityError, match="does not contain the result"):
        confirm(store, SMALL_CONTENT)


@pytest.mark.parametrize("content", [b"Another one", b"short"])
def test_other_object_is_not_confirmed(store: S3Artifacts, bucket: TestBucket, content: bytes) -> None:
    bucket.replace(KEY, content)
    with pytest.raises(IntegrityError):
        confirm(store, SMALL_CONTENT)


def test_unverified_object_is_read_back(tmp_path: Path, bucket: TestBucket) -> None:
    store = bucket.open(tmp_path / "artifacts", guarantees=StoreGuarantees(checks_digests=False))
    bucket.replace(KEY, SMALL_CONTENT)
    confirm(store, SMALL_CONTENT)


def test_parts_are_completed_and_confirmed_repeatedly(store: S3Artifacts, bucket: TestBucket) -> None:
    grant = store.grant_result(RESULT, describe(LARGE_CONTENT, parts=True), SECONDS)
    assert upload_parts(grant, LARGE_CONTENT) == [200, 200]
    confirm(store, LARGE_CONTENT)
    confirm(store, LARGE_CONTENT)
    assert read(store) == LARGE_CONTENT
    assert bucket.unfinished_uploads() == []


def test_repeated_request_continues_the_upload(store: S3Artifacts, bucket: TestBucket) -> None:
    content = describe(LARGE_CONTENT, parts=True)
    first = store.grant_result(RESULT, content, SECONDS)
    second = store.grant_result(RESULT, content, SECONDS)
    first_piece, second_piece = split(LARGE_CONTENT)
    assert [put_object(first.grants[0], first_piece), put_object(second.grants[1], second_piece)] == [200, 200]
    assert len(bucket.unfinished_uploads()) == 1
    confirm(store, LARGE_CONTENT)


def test_part_grant_refuses_other_content(store: S3Artifacts) -> None:
    grant = store.grant_result(RESULT, describe(LARGE_CONTENT, parts=True), SECONDS)
    assert put_object(grant.grants[0], split(LARGE_CONTENT)[0].swapcase()) >= 400


def test_incomplete_upload_is_not_confirmed(store: S3Artifacts, bucket: TestBucket) -> None:
    grant = store.grant_result(RESULT, describe(LARGE_CONTENT, parts=True), SECONDS)
    put_object(grant.grants[0], split(LARGE_CONTENT)[0])
    with pytest.raises(IntegrityError):
        confirm(store, LARGE_CONTENT)
    assert put_object(grant.grants[1], split(LARGE_CONTENT)[1]) == 200
    confirm(store, LARGE_CONTENT)


def test_parts_of_other_content_are_not_confirmed(store: S3Artifacts) -> None:
    other_content = LARGE_CONTENT.swapcase()
    grant = store.grant_result(RESULT, describe(other_content, parts=True), SECONDS)
    upload_parts(grant, other_content)
    with pytest.raises(IntegrityError):
        confirm(store, LARGE_CONTENT)


@pytest.mark.parametrize(
    "content",
    [
        ResultContent(sha256="../../secret", size=3),
        ResultContent(sha256=digest(b"abc"), size=0),
        ResultContent(sha256=digest(b"abc"), size=6 << 30),
        ResultContent(sha256=digest(b"abc"), size=4, parts=(ContentPart(sha256=digest(b"abc"), size=3),)),
        ResultContent(sha256=digest(b"abc"), size=6, parts=(ContentPart(sha256=digest(b"abc"), size=3),) * 2),
        ResultContent(sha256=digest(b"abc"), size=3, parts=(ContentPart(sha256="AB", size=3),)),
    ],
    ids=["digest", "empty", "large", "sum", "small-parts", "part-digest"],
)
def test_unsuitable_content_gets_no_grant(store: S3Artifacts, content: ResultContent) -> None:
    with pytest.raises(UsageError):
        store.grant_result(RESULT, content, SECONDS)
