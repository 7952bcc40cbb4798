"""Tests with connections that are cut, and processes that are killed, while objects are stored and read."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sealyard.model.errors import ArtifactStoreError, IntegrityError
from sealyard.storage.s3.artifacts import S3Artifacts
from tests.support.cuttable_proxy import CuttableProxy
from tests.support.extent import choose_cases
from tests.support.object_store import MIN_PART_BYTES, TestBucket
from tests.support.unreliable_proxy import UnreliableProxy

CONTENT = bytes(range(256)) * (3 * MIN_PART_BYTES // 256)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KEY = f"inputs/{SHA256[:2]}/{SHA256}"


def port_of(bucket: TestBucket) -> int:
    port = urlsplit(bucket.server.url).port
    assert port is not None
    return port


async def test_upload_survives_lost_connections(tmp_path: Path, bucket: TestBucket) -> None:
    proxy = UnreliableProxy(port_of(bucket), cuts=3, first=1 << 20, last=MIN_PART_BYTES)
    async with proxy.listening() as url:
        store = await asyncio.to_thread(bucket.open, tmp_path, url)
        await asyncio.to_thread(store.ingest_bytes, CONTENT)
    assert proxy.broken == 3
    with bucket.open(tmp_path / "other").open_input(SHA256) as file:
        assert file.read() == CONTENT
    assert bucket.unfinished_uploads() == []


async def test_download_continues_after_lost_connections(tmp_path: Path, bucket: TestBucket) -> None:
    await asyncio.to_thread(bucket.open(tmp_path).ingest_bytes, CONTENT)
    proxy = UnreliableProxy(port_of(bucket), cuts=3, first=1 << 20, last=MIN_PART_BYTES)
    async with proxy.listening() as url:
        store = await asyncio.to_thread(bucket.open, tmp_path, url)
        file = await asyncio.to_thread(store.open_input, SHA256)
        with file:
            assert await asyncio.to_thread(file.read) == CONTENT
    assert proxy.broken == 3


async def test_store_that_stays_unreachable_raises(
    tmp_path: Path, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealyard.storage.s3.bucket.MAX_ATTEMPTS", 2)
    store = await asyncio.to_thread(bucket.open, tmp_path)
    await asyncio.to_thread(store.ingest_bytes, CONTENT)
    async with CuttableProxy(port_of(bucket)).listen() as proxy:
        remote_store = await asyncio.to_thread(bucket.open, tmp_path / "other", proxy.url)
        file = await asyncio.to_thread(remote_store.open_input, SHA256)
        with file:
            assert await asyncio.to_thread(file.read, 1000) == CONTENT[:1000]
            proxy.cut()
            with pytest.raises(ArtifactStoreError):
                await asyncio.to_thread(file.read)
        with pytest.raises(ArtifactStoreError, match="is not reachable"):
            await asyncio.to_thread(remote_store.ingest_bytes, CONTENT[1:])
        proxy.restore()
        await asyncio.to_thread(remote_store.ingest_bytes, CONTENT[1:])


def test_object_that_is_replaced_while_it_is_read_raises(tmp_path: Path, bucket: TestBucket) -> None:
    store = bucket.open(tmp_path)
    store.ingest_bytes(CONTENT)
    with store.open_input(SHA256) as file:
        file.read(10)
        bucket.replace(KEY, CONTENT.swapcase())
        file.seek(MIN_PART_BYTES)
        with pytest.raises(IntegrityError, match="replaced or removed"):
            file.read()


STORE_SCRIPT = """
import sys
from pathlib import Path
from sealyard.storage.s3 import uploads
from sealyard.storage.s3.artifacts import S3Artifacts
from sealyard.storage.s3.bucket import Bucket
from sealyard.storage.s3.location import S3Location
from sealyard.storage.s3.uploads import StoreGuarantees

folder, url, source, size = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
bucket = Bucket(S3Location.parse(url))
call = bucket.call

def report(operation, permission, **parameters):
    response = call(operation, permission, **parameters)
    print(operation, flush=True)
    sys.stdin.readline()
    return response

bucket.call = report
store = S3Artifacts(folder, bucket, "w1", StoreGuarantees(), single_bytes=size, part_bytes=size)
store.ingest(source)
print("stored", flush=True)
"""

STEPS = ("create_multipart_upload", "upload_part", "upload_part", "upload_part", "complete_multipart_upload", "stored")


@pytest.mark.parametrize("step", choose_cases(range(len(STEPS)), share=3))
def test_killed_process_leaves_whole_input_or_none(tmp_path: Path, bucket: TestBucket, step: int) -> None:
    source, folder = tmp_path / "firmware.bin", tmp_path / "artifacts"
    source.write_bytes(CONTENT)
    command = [sys.executable, "-c", STORE_SCRIPT, str(folder), bucket.url, str(source), str(MIN_PART_BYTES)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for index, expected_step in enumerate(STEPS[: step + 1]):
            assert process.stdout.readline().strip() == expected_step
            if index < step:
                process.stdin.write("\n")
                process.stdin.flush()
        process.kill()
    store = bucket.open(folder)
    is_stored = step >= STEPS.index("complete_multipart_upload")
    assert list(store.stored_inputs()) == ([SHA256] if is_stored else [])
    assert len(bucket.unfinished_uploads()) == (0 if is_stored else 1)
    store.delete_temporary()
    assert not [path for path in folder.rglob("*") if path.is_file()]
    ingest_again(store, source)


def ingest_again(store: S3Artifacts, source: Path) -> None:
    store.ingest(source)
    with store.open_input(SHA256) as file:
        assert file.read() == CONTENT
