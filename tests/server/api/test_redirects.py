"""Tests of downloads that the server redirects to the object store."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from sealyard.model.audit import AuditAction, AuditFilter
from sealyard.model.tasks import Verdict
from sealyard.server.settings import S3Settings
from tests.support.bucket_workspace import use_bucket
from tests.support.limits import TIMEOUT
from tests.support.multipart_builder import FORM_TYPE, Field, build_form
from tests.support.programs import require
from tests.support.server_harness import AUDITOR, DEV, GATEWAY, OWNER, STRANGER, ServerHarness, run_server, wait_until

if os.environ.get("SEALYARD_REQUIRE_INTEROP") != "1":
    pytest.importorskip("boto3")

from tests.support.ministack import MiniStack
from tests.support.object_store import TestBucket, use_credentials
from tests.support.object_store_fixtures import ministack

__all__ = ["ministack"]

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 1024


class Download:
    """A task that is DONE, and the owner's client. ``content``: the result as the server sends it itself."""

    def __init__(self, harness: ServerHarness, http: httpx.AsyncClient, task: dict[str, Any]) -> None:
        self.harness = harness
        self.http = http
        self.url = f"/api/v1/task/{task['id']}/download"
        self.result = task["result"]
        self.task_id = task["id"]
        self.content = b""

    async def get(self, **headers: str) -> httpx.Response:
        return await self.http.get(self.url, headers=headers)

    async def audited(self) -> list[str]:
        page = await self.harness.engine.client(AUDITOR).audit(AuditFilter(change=AuditAction.DOWNLOADED))
        return [entry.message for entry in page.entries]


@pytest.fixture(scope="module")
def bucket(ministack: MiniStack) -> Iterator[TestBucket]:
    with pytest.MonkeyPatch.context() as patch:
        use_credentials(patch)
        yield TestBucket(ministack)


@pytest.fixture(scope="module")
async def download(shared_folder: Path, bucket: TestBucket) -> AsyncIterator[Download]:
    use_bucket(shared_folder, bucket.url)
    async with run_server({"one": shared_folder}, s3=S3Settings(redirect=True)) as harness:
        http = await harness.http_client(DEV)
        form = build_form((Field("deviceConfigId", GATEWAY.encode()), Field("inputFiles", CONTENT, "firmware.bin")))
        created = await http.post("/api/v1/packagingTask", headers={"Content-Type": FORM_TYPE}, content=form)
        task_id = created.json()["id"]
        await harness.engine.client(OWNER).decide(task_id, Verdict.APPROVED)

        async def load_done_task() -> dict[str, Any] | None:
            task: dict[str, Any] = (await http.get(f"/api/v1/task/{task_id}")).json()
            return task if task["status"] == "DONE" else None

        download = Download(harness, http, await wait_until(load_done_task, "DONE"))
        download.content = (await http.get(download.url, params={"redirect": "false"})).content
        assert hashlib.sha256(download.content).hexdigest() == download.result["sha256"]
        yield download


async def follow(response: httpx.Response, **headers: str) -> httpx.Response:
    """Follow a redirect without the token of the API."""
    assert response.status_code == 307, response.text
    async with httpx.AsyncClient(trust_env=False) as store:
        return await store.get(response.headers["location"], headers=headers)


async def test_download_is_redirected_and_audited(download: Download) -> None:
    response = await download.get()
    assert response.headers["etag"] == f'"{download.result["sha256"]}"'
    assert response.headers["cache-control"] == "private, no-store"
    stored = await follow(response)
    assert stored.content == download.content
    assert stored.headers["content-disposition"] == f'attachment; filename="{download.result["fileName"]}"'
    assert (await download.audited())[0] == "handed out through the object store"


async def test_ranges_are_redirected_or_sent(download: Download) -> None:
    etag, part = f'"{download.result["sha256"]}"', download.content[1000:2000]
    for headers in ({"Range": "bytes=1000-1999"}, {"Range": "bytes=1000-1999", "If-Range": etag}):
        stored = await follow(await download.get(**headers), Range=headers["Range"])
        assert (stored.status_code, stored.content) == (206, part)
    own = await download.http.get(download.url, params={"redirect": "false"}, headers={"Range": "bytes=1000-1999"})
    assert (own.status_code, own.content) == (206, part)
    assert (await download.get(Range="bytes=99999999-")).status_code == 416


async def test_object_store_never_answers_conditional_requests(download: Download) -> None:
    """The object store knows another ETag, and more units of ranges may be known to it."""
    etag = f'"{download.result["sha256"]}"'
    assert (await download.get(**{"If-None-Match": etag})).status_code == 304
    for headers in ({"Range": "bytes=0-1", "If-Range": '"other"'}, {"Range": "bytes=0-1,5-6"}):
        response = await download.get(**headers)
        assert (response.status_code, response.content) == (200, download.content)
    assert (await download.http.head(download.url)).status_code == 200


async def test_link_is_redirected(download: Download) -> None:
    task = (await download.http.get(f"/api/v1/task/{download.task_id}")).json()
    url = task["downloadUrl"]
    async with httpx.AsyncClient(trust_env=False) as anonymous:
        assert (await follow(await anonymous.get(url))).content == download.content
        assert (await anonymous.get(url.replace("signature=", "signature=x"))).status_code == 403
    assert (await download.audited())[0] == "handed out through the object store, by link"


async def test_other_subject_gets_no_redirect(download: Download) -> None:
    http = await download.harness.http_client(STRANGER)
    assert (await http.get(download.url)).status_code == 404


async def test_removed_result_is_reported_before_redirect(download: Download, bucket: TestBucket) -> None:
    keys = bucket.keys()
    (key,) = (key for key in keys if "/results/" in key)
    bucket.client.delete_object(Bucket=bucket.name, Key=key)
    response = await download.get()
    bucket.client.put_object(Bucket=bucket.name, Key=key, Body=download.content)
    assert (response.status_code, response.json()["code"]) == (410, "result-gone")


async def test_curl_follows_redirect_without_token(download: Download, tmp_path: Path) -> None:
    token = download.http.headers["authorization"]
    target = tmp_path / "container"
    target.write_bytes(download.content[:1000])
    url = f"{download.harness.base}{download.url}"
    options = ("-sS", "-L", "-v", "-C", "-", "-o", str(target), "-H", f"Authorization: {token}")

    def run_curl() -> subprocess.CompletedProcess[str]:
        command = [require("curl"), *options, url]
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)

    result = await asyncio.to_thread(run_curl)
    assert result.returncode == 0, result.stderr
    assert target.read_bytes() == download.content
    host = urlsplit((await download.get()).headers["location"]).netloc
    assert f"Host: {host}" in result.stderr
