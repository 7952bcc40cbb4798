"""Tests of uploads that clients send to the bucket: restarts, expiry, and completions that take long or are ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from sealyard.engine.inputs import direct_uploads
from sealyard.model.errors import ArtifactStoreError, InputMismatchError, NotFoundError
from sealyard.model.requests import UploadStatus
from sealyard.storage.direct_uploads import DirectSlot
from sealyard.storage.s3 import direct_uploads as s3_direct_uploads
from tests.support.cuttable_proxy import CuttableProxy
from tests.support.engine_harness import DEV, sha256
from tests.support.grants import put_object
from tests.support.limits import TIMEOUT
from tests.support.s3_harness import S3Harness

pytestmark = pytest.mark.anyio

CONTENT = b"firmware 0"
SHA256 = sha256(CONTENT)
KEY = f"inputs/{SHA256[:2]}/{SHA256}"
ID = "an-upload-of-mine"


class SlowStore:
    """Delays the verification of uploads until :attr:`proceed` is set, or the call is cancelled."""

    def __init__(self, harness: S3Harness, monkeypatch: pytest.MonkeyPatch) -> None:
        assert harness.store.direct is not None
        self.started, self.proceed = threading.Event(), threading.Event()
        self.failure: Exception | None = None
        self._store_input = harness.store.direct.store_input
        monkeypatch.setattr(harness.store.direct, "store_input", self._delay)

    def _delay(self, slot: DirectSlot, digest: str, check_cancelled: Callable[[int], None]) -> None:
        self.started.set()
        while not self.proceed.wait(0.01):
            check_cancelled(0)
        if self.failure is not None:
            raise self.failure
        self._store_input(slot, digest, check_cancelled)


@pytest.fixture
def slow_store(harness: S3Harness, monkeypatch: pytest.MonkeyPatch) -> SlowStore:
    monkeypatch.setattr(direct_uploads, "WAIT_SECONDS", 0.01)
    return SlowStore(harness, monkeypatch)


async def send(harness: S3Harness) -> None:
    direct = harness.engine.direct_uploads
    await direct.begin(DEV, ID, "firmware.bin", len(CONTENT), SHA256)
    grant = await direct.grant(DEV, ID, 1, SHA256)
    assert await asyncio.to_thread(put_object, grant, CONTENT) == 200


async def complete(harness: S3Harness) -> UploadStatus:
    return await harness.engine.direct_uploads.complete(DEV, ID, SHA256)


async def complete_finally(harness: S3Harness) -> UploadStatus:
    """Repeat the call like a client until the upload is complete."""
    async with asyncio.timeout(TIMEOUT):
        while not (status := await complete(harness)).complete:
            pass
    return status


async def test_upload_continues_after_restart(harness: S3Harness) -> None:
    await send(harness)
    await harness.close()
    await harness.open()
    assert (await complete(harness)).sha256 == SHA256
    await harness.close()
    await harness.open()
    assert harness.engine.uploads.get(DEV, ID).complete
    assert harness.store.input_size(SHA256) == len(CONTENT)


async def test_expired_upload_is_removed(harness: S3Harness) -> None:
    await send(harness)
    harness.clock.advance(seconds=25 * 3600)
    await harness.engine.uploads.sweep()
    assert harness.bucket.keys() == []
    with pytest.raises(NotFoundError):
        await complete(harness)


async def test_object_sent_after_deletion_is_removed(harness: S3Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    direct = harness.engine.direct_uploads
    await direct.begin(DEV, ID, "firmware.bin", len(CONTENT), None)
    grant = await direct.grant(DEV, ID, 1, SHA256)
    await harness.engine.uploads.delete(DEV, ID)
    assert await asyncio.to_thread(put_object, grant, CONTENT) == 200
    await harness.engine.uploads.sweep()
    assert len(harness.bucket.keys()) == 1
    monkeypatch.setattr(s3_direct_uploads, "MIN_ORPHAN_AGE", -s3_direct_uploads.MIN_ORPHAN_AGE)
    await harness.engine.uploads.sweep()
    assert harness.bucket.keys() == []


async def test_slow_completion_is_reported_later(harness: S3Harness, slow_store: SlowStore) -> None:
    await send(harness)
    for _ in range(2):
        assert not (await complete(harness)).complete
    slow_store.proceed.set()
    assert (await complete_finally(harness)).sha256 == SHA256
    await harness.wait_until(lambda: harness.bucket.keys() == [KEY])


async def test_failure_of_slow_completion_is_reported_once(harness: S3Harness, slow_store: SlowStore) -> None:
    await send(harness)
    slow_store.failure = InputMismatchError("Other content.")
    assert not (await complete(harness)).complete
    slow_store.proceed.set()
    with pytest.raises(InputMismatchError, match="Other content"):
        await complete_finally(harness)
    slow_store.failure = None
    assert (await complete_finally(harness)).complete


async def test_deletion_during_completion_removes_content(harness: S3Harness, slow_store: SlowStore) -> None:
    await send(harness)
    assert not (await complete(harness)).complete
    await harness.engine.uploads.delete(DEV, ID)
    await harness.engine.uploads.create(DEV, ID, "firmware.bin", len(CONTENT))
    slow_store.proceed.set()
    await harness.wait_until(lambda: all(each.done() for each in harness.engine.direct_uploads._completions.values()))
    await harness.close()
    assert harness.bucket.keys() == []


async def test_closing_engine_ends_completion(harness: S3Harness, slow_store: SlowStore) -> None:
    await send(harness)
    assert not (await complete(harness)).complete
    await harness.close()
    await harness.open()
    assert (await complete_finally(harness)).complete


async def test_input_deleted_while_upload_is_open_is_stored_again(harness: S3Harness) -> None:
    file = await harness.upload(CONTENT)
    await send(harness)
    harness.engine.inputs.discard([file])
    assert (await complete(harness)).complete
    await harness.close()
    assert harness.bucket.keys() == [KEY]


async def test_unreachable_bucket_delays_completion(harness: S3Harness, proxy: CuttableProxy) -> None:
    await send(harness)
    proxy.cut()
    with pytest.raises(ArtifactStoreError):
        await complete(harness)
    proxy.restore()
    assert (await complete(harness)).complete
