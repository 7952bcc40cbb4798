"""Tests of HEAD on every path that supports GET."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from sealyard.model.audit import AuditAction, AuditFilter
from tests.support.multipart_builder import FORM_TYPE, Field, build_form
from tests.support.server_harness import ADMIN, DEV, GATEWAY, ServerHarness, run_server, wait_until

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 64


@pytest.fixture(scope="module")
async def harness(shared_folder: Path) -> AsyncIterator[ServerHarness]:
    async with run_server({"one": shared_folder}) as harness:
        yield harness


@pytest.fixture
async def task(harness: ServerHarness) -> dict[str, object]:
    """Return an encryption task that is DONE."""
    client = await harness.http_client(DEV)
    form = build_form([Field("deviceConfigId", GATEWAY.encode()), Field("inputFile", CONTENT, "firmware.bin")])
    created = await client.post("/api/v1/encryptionTask", headers={"Content-Type": FORM_TYPE}, content=form)
    path = f"/api/v1/encryptionTask/{created.json()['id']}"

    async def finished_task() -> dict[str, object] | None:
        body: dict[str, object] = (await client.get(path)).json()
        return body if body["status"] == "DONE" else None

    result: dict[str, object] = await wait_until(finished_task, "the task is DONE")
    return result


async def test_head_answers_every_get_path(harness: ServerHarness, task: dict[str, object]) -> None:
    client = await harness.http_client(ADMIN)
    paths = (await client.get("/openapi.json")).json()["paths"]
    values = {
        "task_id": str(task["id"]),
        "config_id": GATEWAY,
        "seq": "0",
        "resource_type": "TASK",
        "resource_id": str(task["id"]),
    }
    get_paths = [path for path, operations in paths.items() if "get" in operations and "{" not in path]
    get_paths += [
        path.format(**values)
        for path, operations in paths.items()
        if "get" in operations and (names := set(re.findall(r"{(\w+)}", path))) and names <= values.keys()
    ]
    assert len(get_paths) > 25
    for path in get_paths:
        if path.endswith("/events"):
            continue
        expected = await client.get(path)
        response = await client.head(path)
        assert response.status_code == expected.status_code, path
        assert response.content == b""
        assert expected.headers.get("content-type", "").count("charset") <= 1
        for name in ("content-type", "content-length", "etag", "link", "x-se-cursor"):
            if path.endswith("metrics") and name == "content-length":
                continue
            assert response.headers.get(name) == expected.headers.get(name), (path, name)


async def test_head_of_event_stream_ends(harness: ServerHarness) -> None:
    client = await harness.http_client(DEV)
    response = await client.head("/api/v1/events")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")


async def test_head_of_download_is_not_audited(harness: ServerHarness, task: dict[str, object]) -> None:
    client = await harness.http_client(DEV)
    assert isinstance(task["result"], dict)
    for url in (f"/api/v1/task/{task['id']}/download", str(task["downloadUrl"])):
        response = await client.head(url, headers={"Range": "bytes=0-9"})
        assert response.status_code == 200
        assert response.headers["content-length"] == str(task["result"]["size"])
        assert response.headers["accept-ranges"] == "bytes"
    assert (await client.get(f"/api/v1/task/{task['id']}/download")).status_code == 200
    downloads = AuditFilter(resource=f"TASK:{task['id']}", change=AuditAction.DOWNLOADED)

    async def entries() -> list[str]:
        return [entry.author for entry in (await harness.engine.client(ADMIN).audit(downloads)).entries]

    assert await wait_until(entries, "the download is audited") == [DEV]


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/api/v1/task/nothing", "/api/v1/task/nothing/download"])
async def test_head_of_unknown_path_is_not_found(harness: ServerHarness, path: str) -> None:
    response = await (await harness.http_client(DEV)).head(path)
    assert (response.status_code, response.content) == (404, b"")


async def test_head_without_token_is_rejected(harness: ServerHarness) -> None:
    assert (await harness.anonymous_client().head("/api/v1/task")).status_code == 401


async def test_head_of_post_path_is_not_allowed(harness: ServerHarness) -> None:
    response = await (await harness.http_client(DEV)).head("/api/v1/auditlog/verification")
    assert response.status_code == 405
    assert "GET" not in response.headers.get("allow", "")


async def test_head_of_upload_returns_offset(harness: ServerHarness) -> None:
    client: httpx.AsyncClient = await harness.http_client(DEV)
    created = await client.post("/api/v1/upload", headers={"Upload-Length": "5", "Tus-Resumable": "1.0.0"})
    response = await client.head(created.headers["Location"], headers={"Tus-Resumable": "1.0.0"})
    assert response.headers["Upload-Offset"] == "0"
