"""Tests of the API for uploads that clients send to the object store: rules, limits, and what becomes an input."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealyard.model.audit import AuditFilter
from sealyard.server.settings import S3Settings
from tests.support.bucket_workspace import use_bucket
from tests.support.server_harness import AUDITOR, DEV, GATEWAY, OWNER, SECOND, ServerHarness, run_server

if os.environ.get("SEALYARD_REQUIRE_INTEROP") != "1":
    pytest.importorskip("boto3")

from tests.support.object_store import MIN_PART_BYTES, TestBucket
from tests.support.object_store_fixtures import bucket, ministack

__all__ = ["bucket", "ministack"]

pytestmark = pytest.mark.anyio

ID = "an-upload-of-mine"
URL = f"/api/v1/upload/{ID}"
CONTENT = bytes(range(256)) * 1024
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = {"name": "firmware.bin", "size": len(CONTENT)}
KEY = f"inputs/{SHA256[:2]}/{SHA256}"


@pytest.fixture
async def harness(folder: Path, bucket: TestBucket) -> AsyncIterator[ServerHarness]:
    use_bucket(folder, bucket.url)
    async with run_server({"one": folder}, largest_upload=MIN_PART_BYTES * 3) as harness:
        yield harness


@pytest.fixture
async def http(harness: ServerHarness) -> httpx.AsyncClient:
    return await harness.http_client(DEV)


def list_objects(bucket: TestBucket) -> list[str]:
    """Return the keys without prefix and workspace."""
    keys = bucket.keys()
    return [key.split("/", 2)[2] for key in keys]


async def begin(http: httpx.AsyncClient, **members: Any) -> httpx.Response:
    return await http.post(f"{URL}/direct", json={**FILE, **members})


async def request_grant(http: httpx.AsyncClient, part: int = 1, sha256: str = SHA256) -> httpx.Response:
    return await http.post(f"{URL}/direct/parts/{part}", json={"sha256": sha256})


async def put(grant: httpx.Response, content: bytes) -> int:
    """Send the content without the token of the API."""
    assert grant.status_code == 200, grant.text
    body = grant.json()
    async with httpx.AsyncClient(trust_env=False) as store:
        response = await store.request(body["method"], body["url"], headers=dict(body["headers"]), content=content)
    return response.status_code


async def complete(http: httpx.AsyncClient, sha256: str = SHA256) -> httpx.Response:
    return await http.post(f"{URL}/direct/completion", json={"sha256": sha256})


async def create_task(http: httpx.AsyncClient) -> httpx.Response:
    return await http.post("/api/v1/packagingTask", json={"deviceConfigId": GATEWAY, "inputIds": [ID]})


def check_problem(response: httpx.Response, status: int, code: str) -> None:
    assert (response.status_code, response.json().get("code")) == (status, code), response.text


async def test_uploaded_file_is_used_by_task(http: httpx.AsyncClient, bucket: TestBucket) -> None:
    created = await begin(http, sha256=SHA256)
    assert (created.status_code, created.json()) == (201, {"parts": 1, "partSize": len(CONTENT)})
    grant = await request_grant(http)
    assert grant.headers["cache-control"] == "no-store"
    assert await put(grant, CONTENT) == 200
    check_problem(await create_task(http), 409, "conflict")
    response = await complete(http)
    expected = {"id": ID, "name": "firmware.bin", "size": len(CONTENT), "offset": len(CONTENT)}
    assert response.json() == {**expected, "sha256": SHA256, "complete": True}
    assert (await complete(http)).json() == response.json()
    assert list_objects(bucket) == [KEY]
    task = await create_task(http)
    assert task.status_code == 201, task.text


async def test_large_file_is_sent_in_parts(
    http: httpx.AsyncClient, harness: ServerHarness, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = harness.engine.engine.uploads._direct
    monkeypatch.setattr(direct, "_single_bytes", MIN_PART_BYTES)
    monkeypatch.setattr(direct, "_part_bytes", MIN_PART_BYTES)
    content = CONTENT * (2 * MIN_PART_BYTES // len(CONTENT)) + b"the last part"
    sha256 = hashlib.sha256(content).hexdigest()
    assert (await begin(http, size=len(content))).json() == {"parts": 3, "partSize": MIN_PART_BYTES}
    check_problem(await request_grant(http, 4), 400, "input")
    check_problem(await request_grant(http, 0), 400, "input")
    for part in (3, 1, 2):
        check_problem(await complete(http, sha256), 409, "conflict")
        data = content[(part - 1) * MIN_PART_BYTES : part * MIN_PART_BYTES]
        assert await put(await request_grant(http, part, hashlib.sha256(data).hexdigest()), data) == 200
    assert (await complete(http, sha256)).json()["complete"]
    assert list_objects(bucket) == [f"inputs/{sha256[:2]}/{sha256}"]


async def test_completion_without_content_is_refused(http: httpx.AsyncClient) -> None:
    check_problem(await complete(http), 404, "not-found")
    await http.put(URL, params={"size": str(len(CONTENT))}, content=CONTENT[:10])
    check_problem(await complete(http), 409, "conflict")
    await begin(http)
    check_problem(await complete(http), 409, "conflict")


async def test_store_refuses_other_content(http: httpx.AsyncClient, bucket: TestBucket) -> None:
    await begin(http)
    assert await put(await request_grant(http), CONTENT.swapcase()) == 400
    check_problem(await complete(http), 409, "conflict")
    assert list_objects(bucket) == []


async def test_other_digests_are_refused_and_audited(harness: ServerHarness, http: httpx.AsyncClient) -> None:
    other = hashlib.sha256(b"other").hexdigest()
    await begin(http, sha256=SHA256)
    check_problem(await request_grant(http, sha256=other), 400, "input-mismatch")
    assert await put(await request_grant(http), CONTENT) == 200
    check_problem(await complete(http, other), 400, "input-mismatch")
    page = await harness.engine.client(AUDITOR).audit(AuditFilter(author=DEV))
    assert [entry.resource for entry in page.entries] == ["INPUT", "INPUT"]


async def test_content_of_another_subject_gives_no_access(harness: ServerHarness, http: httpx.AsyncClient) -> None:
    other = await harness.http_client(OWNER)
    await begin(other)
    check_problem(await request_grant(http), 404, "not-found")
    assert await put(await request_grant(other), CONTENT) == 200
    assert (await complete(other)).json()["complete"]
    check_problem(await complete(http), 404, "not-found")
    await begin(http)
    await request_grant(http)
    check_problem(await complete(http), 409, "conflict")


async def test_concurrent_uploads_of_one_file_all_complete(
    harness: ServerHarness, http: httpx.AsyncClient, bucket: TestBucket
) -> None:
    clients = [http, await harness.http_client(OWNER), await harness.http_client(SECOND)]

    async def upload(client: httpx.AsyncClient) -> bool:
        await begin(client)
        assert await put(await request_grant(client), CONTENT) == 200
        responses = await asyncio.gather(complete(client), complete(client))
        return all(response.json()["complete"] for response in responses)

    assert await asyncio.gather(*map(upload, clients)) == [True] * len(clients)
    assert list_objects(bucket) == [KEY]
    for client in clients[1:]:
        assert (await client.delete(URL)).status_code == 204
    task = await create_task(http)
    assert task.status_code == 201, task.text


async def test_deleted_upload_cannot_be_completed(http: httpx.AsyncClient, bucket: TestBucket) -> None:
    await begin(http)
    grant = await request_grant(http)
    assert await put(grant, CONTENT) == 200
    assert (await http.delete(URL)).status_code == 204
    assert list_objects(bucket) == []
    assert await put(grant, CONTENT) == 200
    check_problem(await complete(http), 404, "not-found")
    await begin(http)
    check_problem(await complete(http), 409, "conflict")


async def test_upload_through_server_completes_begun_upload(http: httpx.AsyncClient, bucket: TestBucket) -> None:
    await begin(http)
    assert await put(await request_grant(http), CONTENT) == 200
    response = await http.put(URL, params={"size": str(len(CONTENT))}, content=CONTENT)
    assert (response.status_code, response.json()["sha256"]) == (201, SHA256)
    assert (await complete(http)).json()["complete"]
    assert list_objects(bucket) == [KEY]


async def test_limits_are_those_of_other_uploads(http: httpx.AsyncClient) -> None:
    check_problem(await begin(http, size=MIN_PART_BYTES * 3 + 1), 413, "too-large")
    check_problem(await begin(http, size=0), 400, "input")
    check_problem(await begin(http, sha256="abc"), 400, "usage")
    check_problem(await http.post("/api/v1/upload/short/direct", json=FILE), 400, "usage")
    await begin(http)
    check_problem(await begin(http, size=5), 409, "conflict")
    check_problem(await request_grant(http, sha256="abc"), 400, "usage")


async def test_server_without_direct_uploads_reports_it(folder: Path, bucket: TestBucket) -> None:
    use_bucket(folder, bucket.url)
    async with run_server({"one": folder}, s3=S3Settings(direct_uploads=False)) as harness:
        check_problem(await begin(await harness.http_client(DEV)), 409, "direct-upload-unavailable")


async def test_files_in_folder_are_uploaded_through_server(folder: Path) -> None:
    async with run_server({"one": folder}) as harness:
        http = await harness.http_client(DEV)
        check_problem(await begin(http), 409, "direct-upload-unavailable")
        check_problem(await http.get(URL), 404, "not-found")
