"""Tests of grants: what the emulator accepts with a pre-signed URL, and what it refuses."""

from __future__ import annotations

import hashlib
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from sealyard.model.errors import ArtifactStoreError
from sealyard.model.grants import Grant
from tests.support.grants import get_object, put_object
from tests.support.limits import TIMEOUT
from tests.support.object_store import TestBucket

CONTENT = b"firmware" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KEY = "yard/w1/uploads/first"


def signed_headers(grant: Grant) -> set[str]:
    (names,) = parse_qs(urlsplit(grant.url).query)["X-Amz-SignedHeaders"]
    return set(names.split(";")) - {"host"}


def test_presigned_put_stores_object_once(bucket: TestBucket) -> None:
    grant = bucket.connect().presign_put(KEY, 60, SHA256, size=len(CONTENT))
    assert put_object(grant, CONTENT) == 200
    assert put_object(grant, CONTENT) == 412
    status = bucket.connect().status(KEY)
    assert status is not None
    assert (status.size, status.sha256) == (len(CONTENT), SHA256)


def test_presigned_put_with_overwrite_replaces_object(bucket: TestBucket) -> None:
    bucket.replace("uploads/first", b"other")
    assert put_object(bucket.connect().presign_put(KEY, 60, SHA256, overwrite=True), CONTENT) == 200
    with bucket.connect().open(KEY) as file:
        assert file.read() == CONTENT


def test_presigned_put_refuses_other_content(bucket: TestBucket) -> None:
    grant = bucket.connect().presign_put(KEY, 60, SHA256)
    assert put_object(grant, CONTENT.swapcase()) == 400
    assert bucket.connect().status(KEY) is None


@pytest.mark.parametrize("size", [None, len(CONTENT)])
@pytest.mark.parametrize("overwrite", [False, True])
def test_presigned_put_signs_all_headers(bucket: TestBucket, overwrite: bool, size: int | None) -> None:
    grant = bucket.connect().presign_put(KEY, 60, SHA256, overwrite=overwrite, size=size)
    assert signed_headers(grant) == {name.lower() for name, _ in grant.headers}
    assert ("If-None-Match", "*") not in grant.headers if overwrite else ("If-None-Match", "*") in grant.headers


@pytest.mark.parametrize("name", ["x-amz-checksum-sha256", "If-None-Match"])
def test_presigned_put_without_signed_header_is_refused(bucket: TestBucket, name: str) -> None:
    assert put_object(bucket.connect().presign_put(KEY, 60, SHA256), CONTENT, without=name) == 403
    assert bucket.connect().status(KEY) is None


def test_presigned_put_refuses_other_size(bucket: TestBucket) -> None:
    grant = bucket.connect().presign_put(KEY, 60, SHA256, size=len(CONTENT) + 1)
    assert put_object(grant, CONTENT, without="Content-Length") == 403
    assert bucket.connect().status(KEY) is None


def test_presigned_get_reads_object_and_ranges(bucket: TestBucket) -> None:
    bucket.replace("uploads/first", CONTENT)
    grant = bucket.connect().presign_get(KEY, 60, file_name='pack "age"\r\n.se-1')
    response = get_object(grant)
    assert (response.status_code, response.content) == (200, CONTENT)
    assert response.headers["content-disposition"] == 'attachment; filename="pack__age___.se-1"'
    part = get_object(grant, Range="bytes=5-9")
    assert (part.status_code, part.content) == (206, CONTENT[5:10])


def test_presigned_get_of_another_key_is_refused(bucket: TestBucket) -> None:
    bucket.replace("uploads/second", CONTENT)
    grant = bucket.connect().presign_get(KEY, 60)
    assert get_object(Grant(url=grant.url.replace("first", "second"), expires_at=grant.expires_at)).status_code == 403


def test_expired_grant_is_refused(bucket: TestBucket) -> None:
    bucket.replace("uploads/first", CONTENT)
    put_grant = bucket.connect().presign_put(KEY, 1, SHA256, overwrite=True)
    get_grant = bucket.connect().presign_get(KEY, 1)
    deadline = time.monotonic() + TIMEOUT
    while get_object(get_grant).status_code != 403:
        assert time.monotonic() < deadline
    assert put_object(put_grant, CONTENT) == 403
    assert get_grant.expires_at < datetime.now(UTC)


def test_grant_shows_only_expiry(bucket: TestBucket) -> None:
    before = datetime.now(UTC)
    grant = bucket.connect().presign_put(KEY, 60, SHA256)
    assert before <= grant.expires_at - timedelta(seconds=60) <= datetime.now(UTC)
    assert repr(grant) == f"Grant(expires_at={grant.expires_at!r})"


def test_presigning_without_credentials_raises(bucket: TestBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(ArtifactStoreError, match="no credentials"):
        bucket.connect().presign_get(KEY, 60)
