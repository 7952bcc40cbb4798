"""Tests of uploads over HTTP, by tus and by PUT: offsets, limits, interruptions and ownership."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from sealyard.model.audit import AuditFilter
from sealyard.server.http import bodies
from tests.support.multipart_builder import FORM_TYPE
from tests.support.server_harness import ADMIN, DEV, OWNER, ServerHarness, run_server, wait_until

pytestmark = pytest.mark.anyio

ID = "an-upload-of-mine"
URL = f"/api/v1/upload/{ID}"
CONTENT = bytes(range(256)) * 1024
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MAX_UPLOAD_BYTES = 1 << 20
TUS = {"Tus-Resumable": "1.0.0"}


@pytest.fixture(scope="module")
async def harness(shared_folder: Path) -> AsyncIterator[ServerHarness]:
    async with run_server({"one": shared_folder}, largest_upload=MAX_UPLOAD_BYTES) as harness:
        yield harness


@pytest.fixture
async def http(harness: ServerHarness) -> AsyncIterator[httpx.AsyncClient]:
    """A client of dev. Its uploads are deleted afterwards, because the tests share the server."""
    client = await harness.http_client(DEV)
    locations = {URL}

    async def add_location(response: httpx.Response) -> None:
        if "location" in response.headers:
            locations.add(response.headers["location"])

    client.event_hooks = {"response": [add_location]}
    yield client
    for location in locations:
        await client.delete(location)


def list_inputs(folder: Path) -> list[str]:
    return [each.name for each in (folder / "artifacts" / "inputs").rglob("*") if each.is_file()]


def list_uploads(folder: Path) -> list[Path]:
    return list((folder / "artifacts" / "uploads").iterdir())


def patch_headers(offset: int) -> dict[str, str]:
    return {**TUS, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}


async def create_tus_upload(http: httpx.AsyncClient, length: int = len(CONTENT), **metadata: str) -> str:
    """Create an upload by tus and return its location."""
    pairs = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in metadata.items())
    headers = {**TUS, "Upload-Length": str(length), **({"Upload-Metadata": pairs} if pairs else {})}
    response = await http.post("/api/v1/upload", headers=headers)
    assert (response.status_code, response.headers["upload-offset"]) == (201, "0"), response.text
    assert response.headers["tus-resumable"] == "1.0.0"
    assert (response.json()["size"], response.json()["offset"]) == (length, 0)
    return response.headers["location"]


async def test_put_stores_whole_file(http: httpx.AsyncClient, shared_folder: Path) -> None:
    response = await http.put(URL, params={"name": "düne.bin", "sha256": SHA256}, content=CONTENT)
    assert response.status_code == 201
    expected = {
        "id": ID,
        "name": "düne.bin",
        "size": len(CONTENT),
        "offset": len(CONTENT),
        "sha256": SHA256,
        "complete": True,
    }
    assert response.json() == expected
    assert (await http.get(URL)).json() == expected
    assert list_inputs(shared_folder) == [SHA256]


async def test_tus_patches_store_file(http: httpx.AsyncClient, shared_folder: Path) -> None:
    location = await create_tus_upload(http, filename="firmware.bin", sha256=SHA256)
    assert location.startswith("/api/v1/upload/")
    for offset in range(0, len(CONTENT), 100_000):
        response = await http.head(location, headers=TUS)
        assert response.status_code == 200
        assert (response.headers["upload-offset"], response.headers["upload-length"]) == (
            str(offset),
            str(len(CONTENT)),
        )
        assert response.headers["cache-control"] == "no-store"
        assert response.headers.get("content-length", "0") == "0"
        assert response.headers["tus-resumable"] == "1.0.0"
        response = await http.patch(location, headers=patch_headers(offset), content=CONTENT[offset : offset + 100_000])
        assert response.status_code == 204
        assert response.headers["upload-offset"] == str(min(offset + 100_000, len(CONTENT)))
    assert (await http.get(location)).json()["sha256"] == SHA256
    assert list_inputs(shared_folder) == [SHA256]


async def test_put_with_offset_resumes_upload(http: httpx.AsyncClient) -> None:
    first = await http.put(URL, params={"size": len(CONTENT)}, content=CONTENT[:1000])
    assert (first.status_code, first.json()["offset"], first.json()["complete"]) == (201, 1000, False)
    second = await http.put(URL, headers={"Upload-Offset": "1000"}, content=CONTENT[1000:])
    assert (second.status_code, second.json()["sha256"]) == (200, SHA256)


async def test_chunked_put_requires_declared_size(http: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield CONTENT[:5]
        yield CONTENT[5:]

    response = await http.put(URL, content=chunks())
    assert (response.status_code, response.json()["code"]) == (400, "usage")
    response = await http.put(URL, params={"size": len(CONTENT)}, content=chunks())
    assert response.json()["sha256"] == SHA256


async def test_interrupted_upload_is_resumed(harness: ServerHarness, http: httpx.AsyncClient) -> None:
    async def interrupted_body() -> AsyncIterator[bytes]:
        yield CONTENT[:70_000]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await http.put(URL, headers={"Content-Length": str(len(CONTENT))}, content=interrupted_body())

    async def is_stored() -> bool:
        response = await (await harness.http_client(DEV)).head(URL)
        return response.status_code == 200 and response.headers["upload-offset"] == "70000"

    await wait_until(is_stored, "the received bytes are stored")
    response = await (await harness.http_client(DEV)).patch(
        URL, headers=patch_headers(70_000), content=CONTENT[70_000:]
    )
    assert response.status_code == 204
    assert (await (await harness.http_client(DEV)).get(URL)).json()["sha256"] == SHA256


async def test_new_request_replaces_hanging_request(harness: ServerHarness, http: httpx.AsyncClient) -> None:
    location = await create_tus_upload(http)
    hanging, release = asyncio.Event(), asyncio.Event()

    async def hanging_body() -> AsyncIterator[bytes]:
        yield b""
        hanging.set()
        await release.wait()
        yield b"too late"

    first = asyncio.create_task(
        (await harness.http_client(DEV)).patch(location, headers=patch_headers(0), content=hanging_body())
    )
    await hanging.wait()
    response = await (await harness.http_client(DEV)).patch(location, headers=patch_headers(0), content=CONTENT)
    assert response.headers["upload-offset"] == str(len(CONTENT))
    release.set()
    assert (await first).status_code in (400, 409)


async def test_wrong_offset_reports_expected_offset(http: httpx.AsyncClient) -> None:
    location = await create_tus_upload(http)
    await http.patch(location, headers=patch_headers(0), content=CONTENT[:500])
    for offset in (0, 499, 501):
        response = await http.patch(location, headers=patch_headers(offset), content=b"x")
        assert (response.status_code, response.json()["code"]) == (409, "conflict")
        assert "at byte 500" in response.json()["detail"]
    assert (await http.put(URL, headers={"Upload-Offset": "7"}, content=b"x")).status_code == 404


async def test_upload_of_other_subject_is_not_found(harness: ServerHarness, http: httpx.AsyncClient) -> None:
    await http.put(URL, params={"size": len(CONTENT)}, content=CONTENT[:10])
    other_http = await harness.http_client(OWNER)
    responses = [
        await other_http.get(URL),
        await other_http.head(URL),
        await other_http.patch(URL, headers=patch_headers(10), content=CONTENT[10:]),
        await other_http.put(URL, headers={"Upload-Offset": "10"}, content=CONTENT[10:]),
        await other_http.delete(URL),
    ]
    assert {each.status_code for each in responses} == {404}
    assert (await other_http.put(URL, content=b"their own")).json()["size"] == 9
    assert (await http.get(URL)).json()["offset"] == 10
    assert (await other_http.delete(URL)).status_code == 204


async def test_deleted_upload_is_not_found(http: httpx.AsyncClient, shared_folder: Path) -> None:
    await http.put(URL, content=CONTENT)
    assert (await http.delete(URL)).status_code == 204
    assert (await http.delete(URL)).status_code == 404
    assert (list_inputs(shared_folder), list_uploads(shared_folder)) == ([], [])


@pytest.mark.parametrize(
    ("params", "content", "code", "message"),
    [
        ({"sha256": "0" * 64}, CONTENT, "input-mismatch", "SHA-256 mismatch"),
        ({"size": "10"}, CONTENT, "input-mismatch", "longer than the declared 10 bytes"),
        ({}, b"", "input", "empty"),
        ({"name": "n" * 256}, CONTENT, "input", "255 characters"),
    ],
)
async def test_rejected_file_leaves_at_most_an_audit_entry(
    harness: ServerHarness,
    http: httpx.AsyncClient,
    shared_folder: Path,
    params: dict[str, str],
    content: bytes,
    code: str,
    message: str,
) -> None:
    filters = AuditFilter(author=DEV, resource="INPUT")
    earlier_entries = (await harness.engine.client(ADMIN).audit(filters)).entries
    response = await http.put(URL, params=params, content=content)
    assert (response.status_code, response.json()["code"]) == (400, code)
    assert message in response.json()["detail"]
    assert (list_inputs(shared_folder), list_uploads(shared_folder)) == ([], [])
    assert (await http.get(URL)).status_code == 404
    entries = (await harness.engine.client(ADMIN).audit(filters)).entries
    new_entries = entries[: len(entries) - len(earlier_entries)]
    assert [message in each.message for each in new_entries] == ([True] if code == "input-mismatch" else [])


async def test_oversized_upload_is_rejected_immediately(http: httpx.AsyncClient, shared_folder: Path) -> None:
    location = await create_tus_upload(http)
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    responses = [
        await http.put(URL, content=bytes(MAX_UPLOAD_BYTES + 1)),
        await http.put(URL, params={"size": MAX_UPLOAD_BYTES + 1}, content=b"x"),
        await http.post("/api/v1/upload", headers={"Upload-Length": str(MAX_UPLOAD_BYTES + 1)}),
        await http.patch(location, headers=patch_headers(0), content=bytes(MAX_UPLOAD_BYTES + 1)),
        await http.post("/api/v1/packagingTask", headers=form, content=bytes(MAX_UPLOAD_BYTES + 1)),
    ]
    assert {(each.status_code, each.json()["code"]) for each in responses} == {(413, "too-large")}
    assert (await http.head(location)).headers["upload-offset"] == "0"
    assert list_inputs(shared_folder) == []


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (f"PATCH {URL} HTTP/1.1\r\nUpload-Offset: 7\r\nContent-Type: application/offset+octet-stream", 409),
        (f"PUT {URL} HTTP/1.1\r\nUpload-Offset: 0", 400),
        (f"PUT /api/v1/upload/another-upload-of-mine?size={MAX_UPLOAD_BYTES} HTTP/1.1\r\nX: y", 413),
        (f"POST /api/v1/packagingTask HTTP/1.1\r\nContent-Type: {FORM_TYPE}", 400),
        ("PUT /api/v1/policy HTTP/1.1\r\nContent-Type: application/json", 413),
        (f"PUT {URL} HTTP/1.1\r\nAuthorization: Bearer unknown", 401),
    ],
)
async def test_endless_body_is_rejected_and_closed(
    harness: ServerHarness, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, request_head: str, status: int
) -> None:
    monkeypatch.setattr(bodies, "LINGER_TIMEOUT", 0.1)
    await http.put(URL, params={"size": len(CONTENT)}, content=b"")
    token = "" if "Authorization" in request_head else f"\r\nAuthorization: {http.headers['authorization']}"
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(harness.base).port)
    writer.write(f"{request_head}{token}\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n".encode())

    async def send_endlessly() -> None:
        while True:
            writer.write(b"10000\r\n" + CONTENT[: 1 << 16] + b"\r\n")
            await writer.drain()

    sending = asyncio.create_task(send_endlessly())
    response = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    with pytest.raises(ConnectionError):
        await sending
    writer.close()
    assert response.startswith(f"http/1.1 {status} ")
    assert "connection: close" in response


async def test_rejected_large_body_receives_response(http: httpx.AsyncClient) -> None:
    response = await http.put(URL, content=bytes(32 * MAX_UPLOAD_BYTES))
    assert (response.status_code, response.json()["code"]) == (413, "too-large")


async def test_small_unread_body_keeps_connection_open(http: httpx.AsyncClient) -> None:
    refused = await http.patch(URL, headers=patch_headers(0), content=bytes(100_000))
    assert refused.status_code == 404
    assert "connection" not in refused.headers


async def test_malformed_request_is_rejected(http: httpx.AsyncClient) -> None:
    location = await create_tus_upload(http)
    metadata = {"Upload-Length": "5", "Upload-Metadata": "filename not*base64"}
    responses = [
        (400, await http.post("/api/v1/upload")),
        (400, await http.post("/api/v1/upload", headers={"Upload-Length": "-5"})),
        (400, await http.post("/api/v1/upload", headers={"Upload-Length": "five"})),
        (400, await http.post("/api/v1/upload", headers=metadata)),
        (400, await http.put("/api/v1/upload/short", content=CONTENT)),
        (400, await http.put(URL, params={"sha256": "no digest"}, content=CONTENT)),
        (400, await http.patch(location, headers={"Content-Type": "application/offset+octet-stream"}, content=b"x")),
        (415, await http.patch(location, headers={"Upload-Offset": "0"}, content=b"x")),
        (412, await http.head(location, headers={"Tus-Resumable": "0.2.2"})),
        (404, await http.head("/api/v1/upload/not-there-at-all-00")),
    ]
    assert [each.status_code for _, each in responses] == [status for status, _ in responses]


async def test_unsupported_tus_version_reports_supported_version(http: httpx.AsyncClient) -> None:
    response = await http.post("/api/v1/upload", headers={"Tus-Resumable": "0.2.2", "Upload-Length": "5"})
    assert (response.status_code, response.headers["tus-version"]) == (412, "1.0.0")
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == 412


async def test_options_describes_tus_support(http: httpx.AsyncClient) -> None:
    response = await http.options("/api/v1/upload")
    assert response.status_code == 204
    assert response.headers["tus-version"] == "1.0.0"
    assert response.headers["tus-extension"] == "creation,termination"
    assert response.headers["tus-max-size"] == str(MAX_UPLOAD_BYTES)


async def test_openapi_document_describes_upload_headers(harness: ServerHarness) -> None:
    paths = (await harness.anonymous_client().get("/openapi.json")).json()["paths"]
    upload_path = paths["/api/v1/upload/{upload_id}"]
    assert list(upload_path["patch"]["requestBody"]["content"]) == ["application/offset+octet-stream"]
    assert list(upload_path["put"]["requestBody"]["content"]) == ["application/octet-stream"]
    assert "Upload-Offset" in [each["name"] for each in upload_path["patch"]["parameters"]]
    assert set(upload_path["head"]["responses"]["200"]["headers"]) == {"Upload-Offset", "Upload-Length"}
    assert "Upload-Length" in [each["name"] for each in paths["/api/v1/upload"]["post"]["parameters"]]


async def test_uploads_survive_server_restart(folder: Path) -> None:
    async with run_server({"one": folder}) as harness:
        http = await harness.http_client(DEV)
        await http.put(URL, params={"size": len(CONTENT)}, content=CONTENT[:1000])
        await http.put("/api/v1/upload/another-upload-of-mine", content=b"whole")
    async with run_server({"one": folder}) as harness:
        http = await harness.http_client(DEV)
        assert (await http.head(URL)).headers["upload-offset"] == "1000"
        assert (await http.get("/api/v1/upload/another-upload-of-mine")).json()["complete"]
        await http.patch(URL, headers=patch_headers(1000), content=CONTENT[1000:])
        assert (await http.get(URL)).json()["sha256"] == SHA256
