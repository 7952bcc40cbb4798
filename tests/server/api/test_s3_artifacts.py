"""Tests of uploads and downloads over HTTP in a workspace whose inputs and results are in a bucket."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest

from sealyard.engine.workspace import load_metadata, save_metadata
from sealyard.model.tasks import Verdict
from sealyard.model.workspace import WorkspacePaths
from tests.support.cuttable_proxy import CuttableProxy
from tests.support.multipart_builder import FORM_TYPE, Field, build_form
from tests.support.server_harness import DEV, GATEWAY, OWNER, ServerHarness, run_server, wait_until

if os.environ.get("SEALYARD_REQUIRE_INTEROP") != "1":
    pytest.importorskip("boto3")

from tests.support.object_store import TestBucket
from tests.support.object_store_fixtures import bucket, ministack

__all__ = ["bucket", "ministack"]

pytestmark = pytest.mark.anyio

ID = "an-upload-of-mine"
URL = f"/api/v1/upload/{ID}"
CONTENT = bytes(range(256)) * 1024
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TUS = {"Tus-Resumable": "1.0.0"}


@pytest.fixture
async def proxy(bucket: TestBucket) -> AsyncIterator[CuttableProxy]:
    async with CuttableProxy(urlsplit(bucket.server.url).port or 0).listen() as proxy:
        yield proxy


@pytest.fixture
async def harness(
    folder: Path, bucket: TestBucket, proxy: CuttableProxy, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ServerHarness]:
    monkeypatch.setattr("sealyard.storage.s3.bucket.MAX_ATTEMPTS", 1)
    paths = WorkspacePaths(folder)
    save_metadata(paths, msgspec.structs.replace(load_metadata(paths), artifacts=bucket.build_url(proxy.url)))
    async with run_server({"one": folder}, largest_upload=1 << 20) as harness:
        yield harness
        proxy.restore()


@pytest.fixture
async def http(harness: ServerHarness) -> httpx.AsyncClient:
    return await harness.http_client(DEV)


def list_objects(bucket: TestBucket) -> list[str]:
    """Return the keys without prefix and workspace."""
    keys = bucket.keys()
    return [key.split("/", 2)[2] for key in keys]


def list_files(folder: Path) -> list[str]:
    folders = (folder / "artifacts" / name for name in ("incoming", "inputs", "results", "uploads", "work"))
    return [path.name for each in folders for path in each.rglob("*") if path.is_file() and path.suffix != ".json"]


async def test_put_is_stored_in_bucket(http: httpx.AsyncClient, folder: Path, bucket: TestBucket) -> None:
    response = await http.put(URL, params={"name": "firmware.bin", "sha256": SHA256}, content=CONTENT)
    assert (response.status_code, response.json()["complete"]) == (201, True)
    assert list_objects(bucket) == [f"inputs/{SHA256[:2]}/{SHA256}"]
    assert list_files(folder) == []


async def test_tus_upload_is_stored_in_bucket(http: httpx.AsyncClient, bucket: TestBucket) -> None:
    created = await http.post("/api/v1/upload", headers={**TUS, "Upload-Length": str(len(CONTENT))})
    location, half = created.headers["location"], len(CONTENT) // 2
    for offset, content in ((0, CONTENT[:half]), (half, CONTENT[half:])):
        assert list_objects(bucket) == []
        headers = {**TUS, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        assert (await http.patch(location, headers=headers, content=content)).status_code == 204
    assert list_objects(bucket) == [f"inputs/{SHA256[:2]}/{SHA256}"]


async def test_form_builds_package_that_is_downloaded_in_ranges(
    harness: ServerHarness, http: httpx.AsyncClient, folder: Path, bucket: TestBucket
) -> None:
    form = build_form((Field("deviceConfigId", GATEWAY.encode()), Field("inputFiles", CONTENT, "firmware.bin")))
    created = await http.post("/api/v1/packagingTask", headers={"Content-Type": FORM_TYPE}, content=form)
    assert created.status_code == 201, created.text
    task_id = created.json()["id"]
    await harness.engine.client(OWNER).decide(task_id, Verdict.APPROVED)

    async def load_done_task() -> dict[str, str] | None:
        task = (await http.get(f"/api/v1/task/{task_id}")).json()
        return task["result"] if task["status"] == "DONE" else None

    async def has_no_files() -> bool:
        return not list_files(folder)

    result = await wait_until(load_done_task, "DONE")
    assert f"results/{task_id}/1" in list_objects(bucket)
    # Clients see the change before it is durable, and the files are removed afterwards.
    await wait_until(has_no_files, "the copies are removed")
    url = f"/api/v1/task/{task_id}/download"
    whole = await http.get(url)
    assert hashlib.sha256(whole.content).hexdigest() == result["sha256"]
    part = await http.get(url, headers={"Range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, whole.content[1000:2000])


async def test_unreachable_bucket_is_reported(
    http: httpx.AsyncClient, bucket: TestBucket, proxy: CuttableProxy
) -> None:
    assert (await http.get("/readyz")).status_code == 200
    proxy.cut()
    size = {"name": "firmware.bin", "size": str(len(CONTENT))}
    response = await http.put(URL, params=size, content=CONTENT, headers={"Upload-Offset": "0"})
    problem = response.json()
    assert (response.status_code, problem["code"]) == (503, "artifact-store")
    assert "is not reachable" in problem["detail"]
    assert not (await http.get(URL)).json()["complete"]
    proxy.restore()
    response = await http.put(URL, params=size, content=b"", headers={"Upload-Offset": str(len(CONTENT))})
    assert (response.status_code, response.json()["complete"]) == (200, True), response.text
    assert list_objects(bucket) == [f"inputs/{SHA256[:2]}/{SHA256}"]
