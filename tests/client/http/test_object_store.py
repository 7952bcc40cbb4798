"""Tests of uploads to and downloads from the object store of a real server, and of what happens if that fails."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from sealyard.client.http import direct_uploads
from sealyard.client.http.client import HttpClient
from sealyard.client.http.object_store import ObjectStoreConnection
from sealyard.client.http.transport import Connection, Endpoint, Timeouts
from sealyard.concurrency.clock import SystemClock
from sealyard.model.audit import AuditAction, AuditFilter
from sealyard.model.errors import InputMismatchError, ServerUnreachableError
from sealyard.model.grants import Grant
from sealyard.model.requests import PackageRequest
from sealyard.model.tasks import TaskStatus, Verdict
from sealyard.server.settings import S3Settings
from tests.support.bucket_workspace import use_bucket
from tests.support.cli_runner import run_process
from tests.support.running_server import RunningServer, run_service
from tests.support.server_fixtures import anyio_backend, folder, workspace_template
from tests.support.server_harness import AUDITOR, DEV, GATEWAY, OWNER, wait_until
from tests.support.unreliable_proxy import UnreliableProxy

if os.environ.get("SEALYARD_REQUIRE_INTEROP") != "1":
    pytest.importorskip("boto3")

from tests.support.object_store import MIN_PART_BYTES, TestBucket
from tests.support.object_store_fixtures import bucket, ministack

__all__ = ["anyio_backend", "bucket", "folder", "ministack", "workspace_template"]

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * (direct_uploads.MIN_DIRECT_BYTES // 256) + b"end"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
async def server(folder: Path, bucket: TestBucket) -> AsyncIterator[RunningServer]:
    use_bucket(folder, bucket.url)
    async with run_service(folder, s3=S3Settings(redirect=True)) as server:
        yield server


@pytest.fixture
async def client(server: RunningServer) -> AsyncIterator[HttpClient]:
    endpoint = Endpoint(url=server.base, token=await server.token(DEV))
    client = HttpClient(Connection(endpoint), SystemClock(), retry_timeout=5)
    yield client
    await client.close()


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    path = tmp_path / "firmware.bin"
    path.write_bytes(CONTENT)
    return path


def list_inputs(bucket: TestBucket) -> list[str]:
    keys = bucket.keys()
    return [key.rpartition("/")[2] for key in keys if "/inputs/" in key]


def redirect_grants(monkeypatch: pytest.MonkeyPatch, origin: str, target: str) -> None:
    """Let signed URLs lead to another address than that at which the server reaches the object store."""
    signed = direct_uploads.DirectUploadSession._request_grant

    async def request_grant(session: direct_uploads.DirectUploadSession, number: int, sha256: str) -> Grant:
        grant = await signed(session, number, sha256)
        return msgspec.structs.replace(grant, url=grant.url.replace(origin, target))

    monkeypatch.setattr(direct_uploads.DirectUploadSession, "_request_grant", request_grant)


async def create_done_task(server: RunningServer, client: HttpClient, path: Path) -> str:
    file = await client.upload(path)
    task = await client.create_package(PackageRequest(config=GATEWAY, firmware=(file,)))
    await server.engine.client(OWNER).decide(task.id, Verdict.APPROVED)

    async def is_done() -> bool:
        return (await client.task(task.id)).status is TaskStatus.DONE

    await wait_until(is_done, "DONE")
    return task.id


async def test_file_is_sent_to_object_store(
    server: RunningServer, client: HttpClient, bucket: TestBucket, firmware: Path, caplog: pytest.LogCaptureFixture
) -> None:
    progress: list[tuple[int, int]] = []
    with caplog.at_level(logging.DEBUG):
        file = await client.upload(firmware, progress=lambda done, total: progress.append((done, total)))
    assert (file.sha256, file.size) == (SHA256, len(CONTENT))
    assert progress[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)
    (upload,) = server.engine.engine.uploads._files.values()
    assert upload.record.slot is not None
    assert list_inputs(bucket) == [SHA256]
    assert "X-Amz-Signature" not in caplog.text
    await client.discard_uploads((file,))
    assert server.engine.engine.uploads._files == {}


async def test_large_file_is_sent_in_parts(
    server: RunningServer, client: HttpClient, bucket: TestBucket, firmware: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = server.engine.engine.uploads._direct
    monkeypatch.setattr(direct, "_single_bytes", MIN_PART_BYTES)
    monkeypatch.setattr(direct, "_part_bytes", MIN_PART_BYTES)
    assert (await client.upload(firmware, expected_sha256=SHA256)).sha256 == SHA256
    assert list_inputs(bucket) == [SHA256]
    with pytest.raises(InputMismatchError):
        await client.upload(firmware, expected_sha256="0" * 64)
    assert bucket.unfinished_uploads() == []


async def test_upload_continues_after_lost_connections(folder: Path, bucket: TestBucket, firmware: Path) -> None:
    proxy = UnreliableProxy(urlsplit(bucket.server.url).port or 0, cuts=2, first=1 << 20, last=4 << 20)
    async with proxy.listening() as url:
        use_bucket(folder, bucket.build_url(url))
        async with run_service(folder) as server:
            client = HttpClient(Connection(Endpoint(url=server.base, token=await server.token(DEV))), SystemClock())
            await client.upload(firmware)
            await client.close()
    assert proxy.broken == 2
    assert list_inputs(bucket) == [SHA256]


async def test_unreachable_object_store_is_replaced_by_server(
    server: RunningServer,
    client: HttpClient,
    bucket: TestBucket,
    firmware: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    redirect_grants(monkeypatch, bucket.server.url, NOWHERE)
    for name in ("first.bin", "second.bin"):
        path = firmware.with_name(name)
        path.write_bytes(CONTENT + name.encode())
        await client.upload(path)
    warnings = [record.getMessage() for record in caplog.records if record.name.startswith("sealyard.client.http")]
    (warning,) = warnings
    assert warning.startswith("sending files to the server: the object store cannot be used: Cannot reach")
    assert "X-Amz" not in warning
    assert len(list_inputs(bucket)) == 2


async def test_refusing_object_store_is_replaced_by_server(
    client: HttpClient, bucket: TestBucket, firmware: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redirect_grants(monkeypatch, "X-Amz-Signature=", "X-Amz-Signature=0")
    monkeypatch.setattr(direct_uploads, "MAX_ATTEMPTS", 2)
    await client.upload(firmware)
    assert list_inputs(bucket) == [SHA256]


async def test_server_without_object_store_receives_file(folder: Path, firmware: Path) -> None:
    async with run_service(folder) as server:
        client = HttpClient(Connection(Endpoint(url=server.base, token=await server.token(DEV))), SystemClock())
        assert (await client.upload(firmware)).sha256 == SHA256
        await client.close()


async def test_download_follows_redirect_while_object_store_is_reachable(
    server: RunningServer,
    client: HttpClient,
    firmware: Path,
    bucket: TestBucket,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    task_id = await create_done_task(server, client, firmware)
    result = (await client.task(task_id)).result
    assert result is not None
    urls: list[str] = []
    signed_stream, target = ObjectStoreConnection.stream, bucket.server.url

    def stream(connection: ObjectStoreConnection, url: str, headers: dict[str, str]) -> object:
        urls.append(url)
        return signed_stream(connection, url.replace(bucket.server.url, target), headers)

    monkeypatch.setattr(ObjectStoreConnection, "stream", stream)
    with caplog.at_level(logging.DEBUG):
        content = b"".join([chunk async for chunk in client.download(task_id)])
    assert "X-Amz-Signature" not in caplog.text
    assert hashlib.sha256(content).hexdigest() == result.sha256
    assert b"".join([chunk async for chunk in client.download(task_id, offset=1000)]) == content[1000:]
    assert len(urls) == 2
    target = NOWHERE
    assert b"".join([chunk async for chunk in client.download(task_id)]) == content
    assert b"".join([chunk async for chunk in client.download(task_id, offset=1000)]) == content[1000:]
    assert len(urls) == 3
    assert caplog.text.count("downloading from the server") == 1


async def test_unencrypted_object_store_of_encrypted_server_is_refused() -> None:
    connection = ObjectStoreConnection(Endpoint(url="https://seal.example"), Timeouts())
    for url in ("http://127.0.0.1:1/x", "ftp://store.example/x", "//store.example", "http://[", ""):
        with pytest.raises(ServerUnreachableError, match="not be encrypted"):
            async with connection.stream(url, {}):
                pass


async def test_command_uploads_and_downloads(
    server: RunningServer, bucket: TestBucket, firmware: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, "SEALYARD_SERVER": server.base, "SEALYARD_TOKEN": await server.token(DEV)}

    async def run(*arguments: object) -> Any:
        result = await asyncio.to_thread(run_process, *arguments, "--json", env=environment)
        assert result.code == 0, result
        return result.value

    task = await run("package", "--device", GATEWAY, "--firmware", firmware)
    assert list_inputs(bucket) == [SHA256]
    await server.engine.client(OWNER).decide(task["id"], Verdict.APPROVED)
    await run("wait", task["id"])
    (download,) = await run("download", task["id"], "--out", tmp_path / "out")
    assert download["downloaded"]["checked"] == "signature"
    page = await server.engine.client(AUDITOR).audit(AuditFilter(change=AuditAction.DOWNLOADED))
    assert "handed out through the object store" in [entry.message for entry in page.entries]
