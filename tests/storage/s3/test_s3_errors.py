"""Tests of the errors of an object store: one readable error for each cause, without credentials."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from sealyard.model.errors import ArtifactStoreError, UsageError
from sealyard.model.provider_settings import Secrets
from sealyard.storage.s3 import bucket as bucket_module
from sealyard.storage.s3.bucket import Bucket
from sealyard.storage.s3.location import S3Location
from tests.support.ministack import REGION, MiniStack, allow
from tests.support.object_store import TestBucket, use_credentials
from tests.support.ports import ReservedPort

SHA256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"  # of foo


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_module, "READ_SECONDS", 1)
    monkeypatch.setattr(bucket_module, "QUICK_SECONDS", 1)
    monkeypatch.setattr(bucket_module, "MAX_ATTEMPTS", 2)


def catch_errors(bucket: Bucket) -> list[ArtifactStoreError]:
    """Return the errors of a check, a store and a read."""
    errors = []
    for operation in (
        lambda: bucket.check("yard"),
        lambda: bucket.put("key", b"foo", SHA256, replace=False),
        lambda: bucket.open("key"),
        lambda: bucket.delete("key"),
        lambda: list(bucket.objects("yard")),
    ):
        with pytest.raises(ArtifactStoreError) as caught:
            operation()
        assert caught.value.hint
        errors.append(caught.value)
    return errors


def test_unreachable_store(bucket: TestBucket) -> None:
    with ReservedPort() as port:
        errors = catch_errors(bucket.connect(f"http://127.0.0.1:{port.number}"))
    assert {error.message for error in errors} == {f"The object store s3://{bucket.name}/yard is not reachable."}


def test_missing_bucket(bucket: TestBucket, ministack: MiniStack) -> None:
    store = Bucket(S3Location.parse(f"s3://no-such-bucket/yard?region={REGION}&endpoint={ministack.url}"))
    with pytest.raises(ArtifactStoreError, match="The bucket of s3://no-such-bucket/yard does not exist"):
        store.check("yard")


def test_missing_permissions(bucket: TestBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    user = bucket.server.create_user(f"user-{bucket.name}", allow("s3:ListBucket"))
    use_credentials(monkeypatch, user)
    store = bucket.connect()
    store.check("yard")
    with pytest.raises(ArtifactStoreError, match=r"does not permit s3:PutObject\.") as caught:
        store.put("key", b"foo", SHA256, replace=False)
    assert "s3:PutObject" in str(caught.value.hint)


@pytest.mark.parametrize("access_key_id", ["", "AKIAUNKNOWNUNKNOWN00"], ids=["wrong secret", "unknown key"])
def test_rejected_credentials(
    bucket: TestBucket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, access_key_id: str
) -> None:
    caplog.set_level(logging.DEBUG)
    user = bucket.server.create_user(f"user-{bucket.name}", allow("s3:*"))
    key = access_key_id.encode() or user.values["access_key_id"]
    use_credentials(monkeypatch, Secrets(values={"access_key_id": key, "secret_access_key": b"geheim"}))
    with pytest.raises(ArtifactStoreError, match="does not accept the credentials") as caught:
        bucket.connect().check("yard")
    assert "geheim" not in f"{caught.value} {caught.value.hint} {caplog.text}"


def test_unknown_profile_of_sdk(bucket: TestBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    with pytest.raises(UsageError, match="does not accept the location"):
        bucket.connect()


def test_missing_credentials(bucket: TestBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    errors = catch_errors(bucket.connect())
    assert {error.message for error in errors} == {
        f"There are no credentials for the object store s3://{bucket.name}/yard."
    }


def test_no_credentials_in_logs(
    bucket: TestBucket, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    user = bucket.server.create_user(f"user-{bucket.name}", allow("s3:*"))
    use_credentials(monkeypatch, user)
    stored = bucket.open(tmp_path / "artifacts").ingest_bytes(b"foo")
    assert stored.sha256 == SHA256
    for secret in user.values.values():
        assert secret.decode() not in caplog.text


async def catch_error_of_answer(bucket: TestBucket, answer: bytes | None) -> ArtifactStoreError:
    """Return the error of a check by a server that always sends ``answer``, or nothing if it is None."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is not None:
            writer.write(answer)
            writer.close()
        else:
            await reader.read()
            writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    async with server:
        store = bucket.connect(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(ArtifactStoreError) as caught:
            await asyncio.to_thread(store.check, "yard")
    return caught.value


def build_answer(status: int, code: str) -> bytes:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>geheim</Message></Error>".encode()
    head = f"HTTP/1.1 {status} Error\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (507, "XMinioStorageFull", "is full."),
        (403, "QuotaExceeded", "is full."),
        (503, "SlowDown", "limits the rate of requests."),
        (500, "InternalError", "is not available at the moment (InternalError)."),
        (400, "AuthorizationHeaderMalformed", "is in another region."),
        (403, "ExpiredToken", "does not accept the credentials (ExpiredToken)."),
        (501, "NotImplemented", "is not available at the moment (NotImplemented)."),
        (400, "SomethingNew", "refused s3:ListBucket (SomethingNew)."),
    ],
)
async def test_answers_of_stores(bucket: TestBucket, status: int, code: str, message: str) -> None:
    error = await catch_error_of_answer(bucket, build_answer(status, code))
    assert error.message.endswith(message)
    assert "geheim" not in error.message
    assert error.hint


async def test_store_that_does_not_answer(bucket: TestBucket) -> None:
    error = await catch_error_of_answer(bucket, None)
    assert error.message == f"The object store s3://{bucket.name}/yard does not answer in time."


async def test_connection_that_ends_without_answer(bucket: TestBucket) -> None:
    error = await catch_error_of_answer(bucket, b"")
    assert error.message == f"The object store s3://{bucket.name}/yard is not reachable."
